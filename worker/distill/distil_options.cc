#include "worker/distill/distil_options.h"

#include <cmath>
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

std::vector<LayerStage> DistilOptions::stages() const {
  std::vector<LayerStage> out;
  for (const Stage first : {Stage::kLayerwise, Stage::kChained}) {
    out.push_back({.name = std::string(to_string(first)), .loss = first, .options = stage(first)});
  }
  for (const LayerStage& stage : further) {
    out.push_back(stage);
    out.back().name = fmt::format("stage_{}", out.size());
  }
  return out;
}

nlohmann::ordered_json DistilOptions::to_json() const {
  const auto stage_json = [](const StageOptions& stage) {
    return nlohmann::ordered_json{{"steps", stage.steps},
                                  {"rate", stage.rate},
                                  {"lowest_rate", stage.lowest_rate},
                                  {"warm_up", stage.warm_up}};
  };
  nlohmann::ordered_json out = {{"target", to_string(target)}};
  for (const Stage first : {Stage::kLayerwise, Stage::kChained}) {
    out[std::string(to_string(first))] = stage_json(stage(first));
  }
  for (const LayerStage& stage : further) {
    nlohmann::ordered_json& one = out["further"].emplace_back(stage_json(stage.options));
    one["loss"] = to_string(stage.loss);
    if (std::isfinite(stage.above_kl)) one["above_kl"] = stage.above_kl;
  }
  // Chains of before these were possible have no such keys.
  if (joint_layerwise) out["joint_layerwise"] = true;
  if (joint_chained) out["joint_chained"] = {{"plans", joint_plans}};
  if (undo_worse) out["undo_worse"] = true;
  out["losses"] = {{"ce", losses.ce}, {"align", losses.align}, {"kl", losses.kl}};
  out["optimizer"] = {{"name", "adamw"},
                      {"betas", {optimizer.beta1, optimizer.beta2}},
                      {"epsilon", optimizer.epsilon},
                      {"decay", optimizer.decay},
                      {"clip", optimizer.clip},
                      {"projection_rate", projection_rate}};
  out["batch_tokens"] = batch_tokens;
  out["accumulation"] = accumulation;
  out["compute"] = compute == kernels::DType::kBf16 ? "bf16" : "f32";
  out["seed"] = seed;
  return out;
}

}  // namespace dslad::worker
