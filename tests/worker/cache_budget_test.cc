// How much memory caches take where nobody says.
#include "worker/service/cache_budget.h"

#include <gmock/gmock.h>

namespace dslad::worker {
namespace {

constexpr std::size_t kMib = 1 << 20;

MemoryUse use_of(std::size_t available_mib, std::size_t weights_mib, bool shared = true) {
  return {available_mib * kMib, "the machine's memory", shared, weights_mib * kMib, 100 * kMib};
}

TEST(CacheBudget, IsAQuarterOfTheMachineWhereWeightsLeaveThat) {
  const auto bytes = default_cache_bytes(use_of(16'000, 2'000));
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(*bytes, 4'000 * kMib);
}

TEST(CacheBudget, IsWhatLargeWeightsLeave) {
  const auto bytes = default_cache_bytes(use_of(16'000, 13'000));
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(*bytes, (15'000 - 13'100) * kMib);
}

TEST(CacheBudget, OfAMemoryOfItsOwnIsNineTenths) {
  const auto bytes = default_cache_bytes(use_of(16'000, 0, false));
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(*bytes, 14'400 * kMib);
}

TEST(CacheBudget, OfAMemoryThatWeightsFillIsAnErrorThatSaysWhatToDo) {
  const auto bytes = default_cache_bytes(use_of(16'000, 15'000));
  ASSERT_FALSE(bytes.ok());
  EXPECT_EQ(bytes.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(bytes.error().message, testing::HasSubstr("weights take 15000 MiB"));
  EXPECT_THAT(bytes.error().message, testing::HasSubstr("--dtype"));
}

TEST(CacheBudget, ThatSomebodyAskedForIsTakenWithAWarningWhereItIsTooMuch) {
  EXPECT_EQ(cache_warning(use_of(16'000, 2'000), 13'900 * kMib), "");
  EXPECT_THAT(cache_warning(use_of(16'000, 2'000), 13'901 * kMib), testing::HasSubstr("lower --cache-mib"));
}

}  // namespace
}  // namespace dslad::worker
