#include "worker/distill/warm_start.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <numeric>

#include "tests/worker/test_files.h"

namespace dslad::worker {
namespace {

using testing::golden_path;
using ::testing::HasSubstr;

class WarmStart : public ::testing::Test {
 protected:
  static DslaVariant variant(int expand_k, kernels::FeatureMap map = kernels::FeatureMap::kSoftmaxPair) {
    DslaVariant out = *named_variant("dslad");
    out.name = "of " + std::to_string(expand_k);
    out.rotary = false;
    out.feature_map = map;
    out.expand_k = expand_k;
    return out;
  }

  DslaLayerTensors initial(const DslaVariant& of) const {
    return *initial_dsla_layer(*files_, config_, 1, of);
  }

  // Every number another.
  DslaLayerTensors learned(const DslaVariant& of) const {
    DslaLayerTensors out = initial(of);
    float next = 1;
    for (auto* part : {&out.q, &out.k, &out.v, &out.o, &out.g1, &out.g2, &out.c1, &out.c2, &out.alpha,
                       &out.o_norm, &out.share}) {
      for (float& value : *part) value = next++;
    }
    return out;
  }

  // Rows of `tensor`, whose `parts` equal parts have `wide` rows, that are at the beginning of their part.
  static std::vector<float> first_rows(const std::vector<float>& tensor, std::size_t parts,
                                       std::size_t narrow, bool the_others = false) {
    std::vector<float> out;
    const std::size_t wide = tensor.size() / parts, own = narrow / parts;
    for (std::size_t i = 0; i < tensor.size(); ++i) {
      if ((i % wide < own) != the_others) out.push_back(tensor[i]);
    }
    return out;
  }

  const std::filesystem::path model_ = golden_path("training/teacher");
  const LlamaConfig config_ = *LlamaConfig::load(model_);
  const std::unique_ptr<WeightFiles> files_ = std::make_unique<WeightFiles>(*WeightFiles::open(model_));
};

TEST_F(WarmStart, OfTheSameVariantIsACopy) {
  DslaLayerTensors tensors = initial(variant(1));
  ASSERT_TRUE(start_warm(config_, variant(1), learned(variant(1)), variant(1), tensors).ok());
  EXPECT_EQ(tensors, learned(variant(1)));
}

TEST_F(WarmStart, WiderKeysContinueWhatTheNarrowOnesLearned) {
  for (const auto map : {kernels::FeatureMap::kSoftmaxPair, kernels::FeatureMap::kSoftmax}) {
    const DslaVariant narrow = variant(2, map), wide = variant(4, map);
    const DslaLayerTensors from = learned(narrow), before = initial(wide);
    DslaLayerTensors tensors = before;
    ASSERT_TRUE(start_warm(config_, narrow, from, wide, tensors).ok());
    const auto heads = static_cast<std::size_t>(config_.heads),
               kv = static_cast<std::size_t>(config_.kv_heads);
    const std::size_t maps = kv * (map == kernels::FeatureMap::kSoftmaxPair ? 2 : 1);
    for (const auto& [part, parts] : {std::pair{&DslaLayerTensors::q, heads},
                                      {&DslaLayerTensors::k, kv},
                                      {&DslaLayerTensors::g1, maps},
                                      {&DslaLayerTensors::g2, maps},
                                      {&DslaLayerTensors::c1, maps},
                                      {&DslaLayerTensors::c2, maps}}) {
      const std::size_t own = (from.*part).size();
      EXPECT_EQ(first_rows(tensors.*part, parts, own), from.*part);
      std::vector<float> rest = first_rows(before.*part, parts, own, true);
      if (part == &DslaLayerTensors::q || part == &DslaLayerTensors::k) {
        for (float& value : rest) value *= 0.5f;
      }
      EXPECT_EQ(first_rows(tensors.*part, parts, own, true), rest);
    }
    EXPECT_EQ(tensors.v, from.v);
    EXPECT_EQ(tensors.o, from.o);
    EXPECT_EQ(tensors.share, from.share);
  }
}

TEST_F(WarmStart, VariantsThatDoNotContinueOneAnotherAreNamed) {
  DslaVariant no_window = variant(2);
  no_window.window = 0;
  no_window.name = "no window";
  for (const auto& [from, to] : {std::pair{variant(4), variant(2)},
                                 {variant(1), variant(1, kernels::FeatureMap::kSoftmax)},
                                 {variant(1), no_window},
                                 {*named_variant("dslad"), variant(2)}}) {
    DslaLayerTensors tensors = initial(to);
    const DslaLayerTensors before = tensors;
    const Status refused = start_warm(config_, from, learned(from), to, tensors);
    ASSERT_FALSE(refused.ok());
    EXPECT_THAT(refused.error().message, HasSubstr(from.name));
    EXPECT_THAT(refused.error().message, HasSubstr(to.name));
    EXPECT_EQ(tensors, before);
  }
}

}  // namespace
}  // namespace dslad::worker
