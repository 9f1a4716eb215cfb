// Steps as lists: what makes two of them the same, where their arrays lie, and which are worth a graph.
#include "kernels/cuda/step.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <memory>
#include <string>

#include "kernels/cuda/graph_cache.h"
#include "kernels/cuda/step_memory.h"
#include "tests/kernels/cuda_on_host/host_device.h"

namespace dslad::kernels::cuda {
namespace {

using cuda::testing::HostDevice;

// An operation of each kind, with nothing behind its pointers.
std::vector<Operation> one_of_each() {
  return {EmbedArgs{},         RmsNormArgs{},       GemmOnDevice{},   BiasArgs{},
          RopeOnDevice{},      AttentionOnDevice{}, WindowOnDevice{}, DslaOnDevice{},
          DeltaRuleOnDevice{}, FeatureMapArgs{},    HeadShareArgs{},  SwiGluArgs{},
          GatherOnDevice{},    NarrowHeadsArgs{},   SampleOnDevice{}, LogProbabilityOnDevice{}};
}

std::string key_of(const std::vector<Operation>& operations) {
  Step step;
  for (const Operation& operation : operations) step.add(operation);
  return step.key();
}

TEST(Step, EveryKindOfOperationHasAKeyOfItsOwn) {
  const std::vector<Operation> all = one_of_each();
  ASSERT_EQ(all.size(), std::variant_size_v<Operation>);
  std::vector<std::string> keys(all.size());
  std::ranges::transform(all, keys.begin(), [](const Operation& operation) { return key_of({operation}); });
  std::ranges::sort(keys);
  EXPECT_EQ(std::ranges::adjacent_find(keys), keys.end());
  EXPECT_EQ(key_of(all), key_of(all));
  EXPECT_NE(key_of({all[0], all[1]}), key_of({all[1], all[0]}));
}

// A graph repeats what it was recorded with: one argument that is another must make it another.
TEST(Step, AnyArgumentIsPartOfTheKey) {
  float x = 0, y = 0;
  const RmsNormArgs norm{&x, 8, &x, &y, 8, 3, 8, 1e-5f, 1};
  RmsNormArgs other = norm;
  other.y = &x;
  EXPECT_NE(key_of({other}), key_of({norm}));
  other = norm;
  other.eps = 1e-6f;
  EXPECT_NE(key_of({other}), key_of({norm}));
  other = norm;
  other.groups = 2;
  EXPECT_NE(key_of({other}), key_of({norm}));

  AttentionOnDevice attention{};
  attention.most_tokens = 512;
  AttentionOnDevice longer = attention;
  longer.most_tokens = 1024;
  EXPECT_NE(key_of({longer}), key_of({attention}));
  longer = attention;
  longer.args.layout.dtype = DType::kBf16;
  attention.args.layout.dtype = DType::kF32;
  EXPECT_NE(key_of({longer}), key_of({attention}));
}

TEST(Step, BlocksOfAProductCountByWhatTheyAreNotByWhereTheyWere) {
  const auto with = [](std::vector<RowBlock> blocks) {
    GemmOnDevice product{};
    product.blocks = blocks;
    return key_of({product});
  };
  const RowBlock decode{0, 3, RowKind::kDecode};
  EXPECT_EQ(with({decode}), with({decode}));
  EXPECT_NE(with({decode}), with({{0, 4, RowKind::kDecode}}));
  EXPECT_NE(with({decode}), with({{0, 3, RowKind::kPrefill}}));
  EXPECT_NE(with({decode}), with({decode, {3, 2, RowKind::kPrefill}}));
}

TEST(StepMemory, ArraysOfTheSameSizesLieInTheSamePlacesInEveryStep) {
  HostDevice device;
  StepMemory memory(device);
  const auto operations = device.make_operations();
  const std::vector<std::size_t> sizes = {4, 100'000, 12, std::size_t{1} << 20, 300'000, 4};
  std::vector<std::byte*> first;
  for (int step = 0; step < 3; ++step) {
    std::vector<std::byte*> places;
    for (const std::size_t bytes : sizes) {
      const auto [on_device, on_host] = memory.add(bytes);
      ASSERT_NE(on_device, nullptr);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(on_device) % 16, 0u);
      std::fill_n(on_host, bytes, std::byte{7});
      places.push_back(on_device);
    }
    for (std::size_t i = 0; i + 1 < places.size(); ++i) {
      const bool apart = places[i] + sizes[i] <= places[i + 1] || places[i + 1] + sizes[i + 1] <= places[i];
      EXPECT_TRUE(apart) << i;
    }
    if (step == 0) first = places;
    EXPECT_EQ(places, first);
    memory.send(*operations);
  }
}

TEST(StepMemory, WhatWaitsIsKeptAndWhatWasSentMakesRoom) {
  constexpr std::size_t kLarge = 300'000;  // more than a block
  HostDevice device(2 * kLarge + 1000);
  StepMemory memory(device);
  const auto operations = device.make_operations();
  EXPECT_NE(memory.add(kLarge).on_device, nullptr);
  EXPECT_NE(memory.add(kLarge).on_device, nullptr);
  EXPECT_EQ(memory.add(kLarge).on_device, nullptr) << "two wait";
  memory.send(*operations);
  EXPECT_NE(memory.add(2 * kLarge).on_device, nullptr) << "in the place of both";
}

TEST(StepMemory, WhatIsReservedIsEnough) {
  HostDevice device;
  StepMemory memory(device);
  const auto operations = device.make_operations();
  ASSERT_TRUE(memory.reserve(1'000'000));
  device.refuse_memory();
  EXPECT_TRUE(memory.reserve(900'000));
  for (int step = 0; step < 2; ++step) {
    for (int array = 0; array < 10; ++array) EXPECT_NE(memory.add(100'000).on_device, nullptr) << array;
    EXPECT_EQ(memory.add(1000).on_device, nullptr);
    memory.send(*operations);
  }
  EXPECT_FALSE(memory.reserve(2'000'000));
}

using Graphs = GraphCache<std::unique_ptr<int>>;

Graphs::Made made(int number, std::size_t bytes = 1) {
  return {std::make_unique<int>(number), bytes, {}};
}

// The number that is kept for a step; -1: it is run as it is.
int come(Graphs& graphs, const std::string& key, int number, std::size_t bytes = 1) {
  const auto* const kept = graphs.come(key, [&] { return made(number, bytes); });
  return kept == nullptr ? -1 : **kept;
}

void refuse(Graphs& graphs, const std::string& key) {
  const auto make = [] { return Graphs::Made{nullptr, 0, "no memory"}; };
  EXPECT_EQ(graphs.come(key, make), nullptr);
  EXPECT_EQ(graphs.come(key, make), nullptr);
}

TEST(GraphCache, AStepIsWorthAGraphWhenItComesAgain) {
  Graphs graphs(100);
  EXPECT_EQ(come(graphs, "decode", 1), -1);
  EXPECT_EQ(come(graphs, "prompt", 2), -1);
  EXPECT_EQ(come(graphs, "decode", 3), 3);
  EXPECT_EQ(come(graphs, "decode", 4), 3);
  EXPECT_EQ(graphs.counts().recorded, 1u);
  EXPECT_EQ(graphs.counts().launched, 2u);
  EXPECT_EQ(graphs.size(), 1u);
}

// Of prompts no two steps are the same, and there may be thousands between two of the same batch.
TEST(GraphCache, StepsThatComeOnceDisplaceNothing) {
  Graphs graphs(100);
  come(graphs, "decode", 1);
  EXPECT_EQ(come(graphs, "decode", 1), 1);
  for (int i = 0; i < 3 * static_cast<int>(Graphs::kRemembered); ++i) come(graphs, std::to_string(i), i);
  EXPECT_EQ(come(graphs, "decode", 2), 1);
  EXPECT_EQ(come(graphs, "0", 7), -1) << "it came too long ago";
}

TEST(GraphCache, WhatDidNotComeForLongestGivesWayToBytes) {
  Graphs graphs(10);
  for (const int i : {0, 1, 2}) {
    come(graphs, std::to_string(i), i, 3);
    EXPECT_EQ(come(graphs, std::to_string(i), i, 3), i);
  }
  EXPECT_EQ(come(graphs, "0", 9), 0);
  come(graphs, "large", 5, 4);
  EXPECT_EQ(come(graphs, "large", 5, 4), 5);
  EXPECT_EQ(graphs.bytes(), 10u) << "all but 1, the oldest: 0 came since";
  EXPECT_EQ(come(graphs, "0", 9), 0);
  EXPECT_EQ(come(graphs, "1", 8, 3), 8) << "made anew";
  come(graphs, "huge", 6, 50);
  EXPECT_EQ(come(graphs, "huge", 6, 50), 6) << "the only one is kept, whatever it takes";
  EXPECT_EQ(graphs.size(), 1u);
}

TEST(GraphCache, ARefusalCostsHalfAndIsTheLastWhereThereIsNothingToFree) {
  Graphs graphs(100);
  for (const int i : {0, 1, 2, 3, 4}) {
    come(graphs, std::to_string(i), i);
    come(graphs, std::to_string(i), i);
  }
  EXPECT_EQ(graphs.come("a", [] { return made(7); }), nullptr);
  EXPECT_EQ(graphs.come("a", [] { return Graphs::Made{nullptr, 0, "no memory"}; }), nullptr);
  EXPECT_EQ(graphs.size(), 2u);
  EXPECT_EQ(graphs.counts().refused, 1u);
  EXPECT_EQ(graphs.counts().why_not, "no memory");
  EXPECT_EQ(come(graphs, "a", 8), 8) << "it goes on";
  EXPECT_EQ(graphs.size(), 3u);
  EXPECT_FALSE(graphs.has_given_up());
  refuse(graphs, "b");
  EXPECT_EQ(graphs.size(), 1u);
  refuse(graphs, "c");
  EXPECT_EQ(graphs.size(), 0u);
  EXPECT_FALSE(graphs.has_given_up()) << "there was one to free";
  refuse(graphs, "d");
  EXPECT_TRUE(graphs.has_given_up());
  EXPECT_EQ(come(graphs, "a", 9), -1);
  EXPECT_EQ(come(graphs, "a", 9), -1);
}

}  // namespace
}  // namespace dslad::kernels::cuda
