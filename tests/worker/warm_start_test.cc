#include "worker/distill/warm_start.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dslad::worker {
namespace {

using ::testing::HasSubstr;

// "dslad" without rotary, changed.
DslaVariant warm_variant(const std::string& name, void (*change)(DslaVariant&)) {
  DslaVariant out = *named_variant("dslad");
  out.rotary = false;
  out.name = name;
  change(out);
  return out;
}

TEST(WarmStart, AnotherNameIsNoOtherVariant) {
  const DslaVariant variant = warm_variant("learned", [](DslaVariant&) {});
  const DslaVariant other = warm_variant("other", [](DslaVariant&) {});
  EXPECT_TRUE(check_warm_start(variant, variant).ok());
  EXPECT_TRUE(check_warm_start(variant, other).ok());
}

TEST(WarmStart, VariantsThatDoNotContinueOneAnotherAreNamed) {
  const DslaVariant learned = warm_variant("learned", [](DslaVariant& v) { v.expand_k = 2; });
  for (const DslaVariant& other :
       {warm_variant("narrow", [](DslaVariant&) {}),
        warm_variant("wide", [](DslaVariant& v) { v.expand_k = 4; }),
        warm_variant("pairs",
                     [](DslaVariant& v) {
                       v.expand_k = 2;
                       v.feature_map = kernels::FeatureMap::kSoftmaxPair;
                     }),
        warm_variant("delta", [](DslaVariant& v) { v.expand_k = 2, v.states = 1, v.delta = true; }),
        warm_variant("no window", [](DslaVariant& v) { v.expand_k = 2, v.window = 0; }),
        *named_variant("dslad")}) {
    const Status refused = check_warm_start(learned, other);
    ASSERT_FALSE(refused.ok()) << other.name;
    EXPECT_THAT(refused.error().message, HasSubstr("a layer of variant " + other.name));
    EXPECT_THAT(refused.error().message, HasSubstr("one of variant learned"));
  }
}

}  // namespace
}  // namespace dslad::worker
