// The memory that a sequence takes under each plan: states of converted layers in slots, pages for the
// others.
#include <gtest/gtest.h>

#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

using kernels::DType;
using kernels::FeatureMap;

TEST(Slots, HaveTheSizeOfTheirLayer) {
  const LlamaConfig config = *LlamaConfig::load(golden("stories260K"));
  const std::size_t per_token = std::size_t{2} * config.kv_heads * config.head_dim * sizeof(float);
  const std::size_t states = per_token * static_cast<std::size_t>(config.head_dim);
  DslaVariant windowed, endless, wide, single;
  windowed.window = 64;
  endless.window = 1 << 20;
  wide.feature_map = FeatureMap::kSoftmaxPair;
  wide.expand_k = 2;
  single.states = 1;
  EXPECT_EQ(slot_shape(config, {}).bytes(), states);
  EXPECT_EQ(slot_shape(config, single).bytes(), states / 2);
  EXPECT_EQ(slot_shape(config, windowed).bytes(), states + 64 * per_token);
  EXPECT_EQ(slot_shape(config, endless).bytes(),
            states + static_cast<std::size_t>(config.context) * per_token)
      << "no more than the context";
  EXPECT_EQ(slot_shape(config, wide).bytes(), 4 * states);
}

// A converted layer that nothing but its variant is needed of.
std::shared_ptr<const DslaWeights> of_variant(void (*change)(DslaVariant&)) {
  auto weights = std::make_shared<DslaWeights>();
  change(weights->variant);
  return weights;
}

// Whatever the plan, what a sequence needs is what it takes, and it gives all of it back.
TEST(Slots, AreCountedByThePlansLayers) {
  const LlamaConfig config = *LlamaConfig::load(golden("stories260K"));
  const auto plain = of_variant([](DslaVariant&) {});
  const ConvertedLayers converted = {plain, plain, plain, of_variant([](DslaVariant& v) { v.expand_k = 16; }),
                                     of_variant([](DslaVariant& v) { v.window = 100; })};
  const auto order = *ConversionOrder::create({3, 0, 4, 1, 2});
  const kernels::KvLayout kv = kv_layout(config, DType::kBf16);
  const auto backend = kernels::make_cpu_backend(1);
  const auto pool = *CachePool::create(*backend, kv, std::size_t{4} << 20);
  const std::int64_t tokens = 5 * kernels::kPageTokens - 3;
  std::int64_t slots = 0;
  for (int number = 0; number <= 5; ++number) {
    if (number > 0) {
      const auto layer = static_cast<std::size_t>(order.layer_at(number - 1));
      const std::size_t bytes = slot_shape(config, converted[layer]->variant).bytes();
      slots += static_cast<std::int64_t>((bytes + kv.page_bytes() - 1) / kv.page_bytes());
    }
    const auto plan =
        std::make_shared<const Plan>(config, DType::kBf16, "", order, converted, number, std::nullopt);
    EXPECT_EQ(plan->state_bytes(), static_cast<std::size_t>(slots) * kv.page_bytes());
    EXPECT_EQ(plan->kv_bytes_per_token() * kernels::kPageTokens,
              static_cast<std::size_t>(5 - number) * kv.page_bytes());
    EXPECT_EQ(pool->pages_needed(*plan, tokens), slots + (5 - number) * 5) << number;
    {
      const auto prefix = pool->allocate(plan, tokens);
      ASSERT_TRUE(prefix.has_value());
      EXPECT_EQ(pool->total_pages() - pool->free_pages(), pool->pages_needed(*plan, tokens));
      EXPECT_EQ(pool->state_bytes_used(), static_cast<std::size_t>(slots) * pool->page_bytes());
      const std::int64_t before = pool->free_pages();
      const auto child = pool->fork(*prefix, tokens, 2 * tokens);
      ASSERT_TRUE(child.has_value());
      EXPECT_EQ(before - pool->free_pages(), pool->pages_to_fork(*plan, tokens, 2 * tokens));
      EXPECT_EQ(pool->state_bytes_used(), 2 * static_cast<std::size_t>(slots) * pool->page_bytes());
    }
    EXPECT_EQ(pool->free_pages(), pool->total_pages()) << number;
    EXPECT_EQ(pool->state_bytes_used(), 0u);
  }
}

}  // namespace
}  // namespace dslad::worker
