#include "worker/distill/distil_options.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace dslad::worker {

std::string_view to_string(Stage stage) {
  return stage == Stage::kLayerwise ? "layerwise" : "chained";
}

std::string_view to_string(LayerTarget target) {
  return target == LayerTarget::kAttentionOutput ? "attention" : "hidden";
}

Result<LayerTarget> parse_target(std::string_view text) {
  for (const LayerTarget target : {LayerTarget::kAttentionOutput, LayerTarget::kHiddenState}) {
    if (text == to_string(target)) return target;
  }
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("'{}' is no target of the layer-wise stage; use attention or hidden", text)};
}

nlohmann::ordered_json DistilOptions::to_json() const {
  const auto stage_json = [](const StageOptions& stage) {
    return nlohmann::ordered_json{{"steps", stage.steps},
                                  {"rate", stage.rate},
                                  {"lowest_rate", stage.lowest_rate},
                                  {"warm_up", stage.warm_up}};
  };
  return {{"target", to_string(target)},
          {"layerwise", stage_json(layerwise)},
          {"chained", stage_json(chained)},
          {"losses",
           {{"ce", losses.ce}, {"align", losses.align}, {"diversity", losses.diversity}, {"kl", losses.kl}}},
          {"optimizer",
           {{"name", "adamw"},
            {"betas", {optimizer.beta1, optimizer.beta2}},
            {"epsilon", optimizer.epsilon},
            {"decay", optimizer.decay},
            {"clip", optimizer.clip}}},
          {"batch_tokens", batch_tokens},
          {"accumulation", accumulation},
          {"compute", compute == kernels::DType::kBf16 ? "bf16" : "f32"},
          {"seed", seed}};
}

}  // namespace dslad::worker
