#include "worker/tools/variant_option.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dslad::worker {
namespace {

using ::testing::HasSubstr;

TEST(VariantOption, NamesAVariantPerhapsWithPartsChanged) {
  EXPECT_EQ(*parse_variant_option("paper"), DslaVariant{});
  const auto changed =
      parse_variant_option("dslad,rotary=0,states=1,expand_k=2,window=9,sinks=4,feature_map=softmax_pair");
  ASSERT_TRUE(changed.ok()) << changed.error().message;
  DslaVariant expected = *named_variant("dslad");
  expected.name = "dslad,rotary=0,states=1,expand_k=2,window=9,sinks=4,feature_map=softmax_pair";
  expected.rotary = false;
  expected.states = 1;
  expected.expand_k = 2;
  expected.window = 9;
  expected.sinks = 4;
  expected.feature_map = kernels::FeatureMap::kSoftmaxPair;
  EXPECT_EQ(*changed, expected);
}

TEST(VariantOption, WithoutAWindowHasNoSinks) {
  const auto parsed = parse_variant_option("dslad,window=0");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->sinks, 0);
  EXPECT_FALSE(parse_variant_option("dslad,window=0,sinks=4").ok());
}

TEST(VariantOption, TheDeltaRuleHasOneState) {
  const DslaVariant delta = *parse_variant_option("dslad,delta=1,rotary=0,expand_k=2");
  EXPECT_TRUE(delta.delta);
  EXPECT_EQ(delta.states, 1);
  EXPECT_TRUE(fit_one_chain(delta, *named_variant("dslad")));
  EXPECT_EQ(parse_variant_option("dslad,delta=0")->states, 2);
}

TEST(VariantOption, SaysWhichPartIsWrong) {
  for (const auto& [text, part] : {std::pair{"mamba", "mamba"},
                                   {"dslad,rotary=yes", "rotary"},
                                   {"dslad,windows=3", "windows"},
                                   {"dslad,window=1.5", "window"},
                                   {"dslad,window=-1", "window"},
                                   {"dslad,sinks=17", "sinks"},
                                   {"dslad,sinks=-1", "sinks"},
                                   {"dslad,sinks=0.5", "sinks"},
                                   {"paper,sinks=4", "window=256"},
                                   {"dslad,output_norm=0", "output_norm"},
                                   {"dslad,feature_map=relu", "relu"},
                                   {"dslad,expand_k=0,rotary=0", "expand_k"},
                                   {"dslad,states=0", "states"},
                                   {"dslad,delta=2", "delta"},
                                   {"dslad,delta=1,states=2", "states=1"},
                                   {"dslad,states=3", "states"},
                                   {"dslad,expand_k=17,rotary=0", "expand_k"},
                                   {"dslad,expand_k=1.5,rotary=0", "expand_k"},
                                   {"dslad,expand_k=2", "rotary=0"},
                                   {"dslad,rotary", "rotary"},
                                   {"dslad,,", "part ''"},
                                   {"", "''"}}) {
    const auto parsed = parse_variant_option(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(parsed.error().message, HasSubstr(part)) << text;
  }
}

TEST(VariantOption, IsSpelledWithAllItsParts) {
  for (const char* text : {"paper", "dslad", "dslad,rotary=0,states=1,expand_k=2,window=9,sinks=4",
                           "paper,feature_map=softmax_pair,window=7", "dslad,delta=1"}) {
    const DslaVariant variant = *parse_variant_option(text);
    DslaVariant again = *parse_variant_option(variant_option(variant));
    again.name = text;
    EXPECT_EQ(again, variant) << variant_option(variant);
  }
}

TEST(VariantOption, OfOneLayerNamesTheLayer) {
  const DslaVariant chain = *parse_variant_option("dslad,window=9,sinks=2");
  const auto parsed = parse_layer_variant_option("12=dslad,rotary=0", chain);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->first, 12);
  EXPECT_EQ(parsed->second.name, "dslad,rotary=0");
  EXPECT_FALSE(parsed->second.rotary);
  EXPECT_TRUE(fit_one_chain(parsed->second, chain));
  EXPECT_EQ(parse_layer_variant_option("12=dslad,window=7", chain)->second.window, 7);
  for (const char* wrong : {"dslad", "=dslad", "-1=dslad", "1.5=dslad", "2000=dslad", "a=dslad", "3=mamba"}) {
    EXPECT_FALSE(parse_layer_variant_option(wrong, chain).ok()) << wrong;
  }
}

}  // namespace
}  // namespace dslad::worker
