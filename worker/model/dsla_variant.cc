#include "worker/model/dsla_variant.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>

namespace dslad::worker {
namespace {

using kernels::FeatureMap;

constexpr std::array<std::pair<FeatureMap, std::string_view>, 3> kFeatureMaps = {
    {{FeatureMap::kNone, "none"},
     {FeatureMap::kSoftmax, "softmax"},
     {FeatureMap::kSoftmaxPair, "softmax_pair"}}};

DslaVariant default_variant() {
  DslaVariant variant;
  variant.name = "dslad";
  variant.form = LayerForm::kDslad;
  variant.rotary = true;
  variant.feature_map = FeatureMap::kSoftmax;
  variant.window = 256;
  variant.sinks = 4;
  return variant;
}

}  // namespace

Result<DslaVariant> named_variant(std::string_view name) {
  if (name == "paper") return DslaVariant{};
  if (name == "dslad") return default_variant();
  return Error{ErrorCode::kInvalidArgument, fmt::format("variant '{}' is unknown; use paper or dslad", name)};
}

Status check_variant(const DslaVariant& variant) {
  if (variant.sinks > 0 && variant.window == 0) {
    return Error{
        ErrorCode::kInvalidArgument,
        fmt::format("sinks is {}, and there is no window that could see them; use window=256 with it",
                    variant.sinks)};
  }
  if (variant.delta && variant.states != 1) {
    return Error{
        ErrorCode::kInvalidArgument,
        fmt::format("states is {}, and the delta rule has one; use states=1 with it", variant.states)};
  }
  if (!variant.rotary || variant.expand_k == 1) return ok_status();
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("expand_k is {}, and rotary turns no more channels than the model's heads have; "
                           "use rotary=0 with it",
                           variant.expand_k)};
}

bool fit_one_chain(const DslaVariant& a, const DslaVariant& b) {
  return a.form == b.form && a.window == b.window && a.sinks == b.sinks;
}

DslaVariant widest(const DslaVariant& a, const DslaVariant& b) {
  DslaVariant out = a;
  if (kernels::feature_width(b.feature_map, 1) > kernels::feature_width(a.feature_map, 1)) {
    out.feature_map = b.feature_map;
  }
  out.states = std::max(a.states, b.states);
  out.delta = a.delta && b.delta;  // the others' gates are wider
  out.expand_k = std::max(a.expand_k, b.expand_k);
  out.rotary = a.rotary && b.rotary;
  return out;
}

std::string_view to_string(FeatureMap map) {
  const auto* const found = std::ranges::find(kFeatureMaps, map, &decltype(kFeatureMaps)::value_type::first);
  return found->second;
}

Result<FeatureMap> parse_feature_map(std::string_view name) {
  const auto* const found =
      std::ranges::find(kFeatureMaps, name, &decltype(kFeatureMaps)::value_type::second);
  if (found != kFeatureMaps.end()) return found->first;
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("feature map '{}' is unknown; use none, softmax or softmax_pair", name)};
}

}  // namespace dslad::worker
