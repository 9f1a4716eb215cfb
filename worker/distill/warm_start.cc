#include "worker/distill/warm_start.h"

#include <algorithm>
#include <fmt/format.h>

namespace dslad::worker {
namespace {

// Times the start of further channels of q and k: whole, they would outweigh trained ones in a softmax map.
constexpr float kFurther = 0.5f;

// Copies `learned` over `initial`, both of `parts` equal parts, to the beginning of each part; what is behind
// it there is multiplied by `further`.
void overlay(const std::vector<float>& learned, std::int64_t parts, float further,
             std::vector<float>& initial) {
  const std::int64_t own = std::ssize(learned) / parts, all = std::ssize(initial) / parts;
  for (std::int64_t part = 0; part < parts; ++part) {
    const auto rest = std::copy_n(learned.begin() + part * own, own, initial.begin() + part * all);
    std::for_each_n(rest, all - own, [further](float& value) { value *= further; });
  }
}

bool can_start(const DslaVariant& from, const DslaVariant& to) {
  return from.rotary == to.rotary && from.feature_map == to.feature_map && from.expand_k <= to.expand_k &&
         fit_one_chain(from, to);
}

}  // namespace

Status start_warm(const LlamaConfig& config, const DslaVariant& learned_variant,
                  const DslaLayerTensors& learned, const DslaVariant& variant, DslaLayerTensors& initial) {
  if (!can_start(learned_variant, variant)) {
    return Error{
        ErrorCode::kInvalidArgument,
        fmt::format("a layer of variant {} cannot start from one of variant {}: only expand_k and the "
                    "biases may differ, and expand_k may not shrink",
                    variant.name, learned_variant.name)};
  }
  overlay(learned.q, config.heads, kFurther, initial.q);
  overlay(learned.k, config.kv_heads, kFurther, initial.k);
  overlay(learned.q_bias, config.heads, kFurther, initial.q_bias);
  overlay(learned.k_bias, config.kv_heads, kFurther, initial.k_bias);
  // A map may lay its parts side by side: each of them grows.
  const std::int64_t maps = config.kv_heads * kernels::feature_width(variant.feature_map, 1);
  for (const auto part :
       {&DslaLayerTensors::g1, &DslaLayerTensors::g2, &DslaLayerTensors::c1, &DslaLayerTensors::c2}) {
    overlay(learned.*part, maps, 1.0f, initial.*part);
  }
  initial.v = learned.v;
  initial.o = learned.o;
  initial.alpha = learned.alpha;
  initial.o_norm = learned.o_norm;
  initial.share = learned.share;
  initial.v_bias = learned.v_bias;
  initial.o_bias = learned.o_bias;
  initial.q_norm = learned.q_norm;
  initial.k_norm = learned.k_norm;
  return ok_status();
}

}  // namespace dslad::worker
