// What a distillation run is asked to do. Plain values; the recipe in chain.json is their record.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernels/tensor.h"
#include "worker/distill/adamw.h"
#include "worker/distill/network.h"

namespace dslad::worker {

// What a stage teaches by: each layer's own error, or the losses of the whole network.
enum class Stage : std::uint8_t { kLayerwise, kChained };

std::string_view to_string(Stage stage);         // "layerwise", "chained"
std::string_view to_string(LayerTarget target);  // "attention", "hidden"
Result<LayerTarget> parse_target(std::string_view text);

struct StageOptions {
  std::int64_t steps = 0;  // of one layer; 0: the stage is left out
  double rate = 0, lowest_rate = 0;
  std::int64_t warm_up = 0;  // steps

  void set_steps(std::int64_t number) {  // with the warm-up that goes with them
    steps = number;
    warm_up = number / 10;
  }
};

// One of a layer's stages, as it passes through them.
struct LayerStage {
  std::string name;  // in logs and in chain.json: "layerwise", "chained", "stage_3" and so on
  Stage loss = Stage::kChained;
  StageOptions options;
  // A layer whose held-out divergence before the stage is not above so many nats a token does without it.
  double above_kl = -std::numeric_limits<double>::infinity();

  [[nodiscard]] bool is_for(double kl) const { return options.steps > 0 && kl > above_kl; }
};

struct DistilOptions {
  LayerTarget target = LayerTarget::kAttentionOutput;
  StageOptions layerwise{200, 3e-3, 3e-5, 20};
  // The layer-wise stage trains the chain's layers beside each other, on the teacher's own hidden states.
  bool joint_layerwise = false;
  StageOptions chained{200, 1e-3, 1e-5, 20};
  // The chained stage trains the chain's layers at once, after the last of them, by these plans in turn;
  // empty: by quarters of the layers. Then its steps are those of all layers.
  bool joint_chained = false;
  std::vector<int> joint_plans;
  // What follows these two, in this order: more steps for layers that are hard, longer texts
  // (TrainingSetup::further_sequences). Their names are given by stages().
  std::vector<LayerStage> further;
  // A stage that leaves the held-out divergence higher than it found it is undone.
  bool undo_worse = true;
  // Cross entropy would teach the texts, on which few teachers were trained (docs/quality.md).
  LossWeights losses{0.0, 0.1, 1.0};
  AdamWOptions optimizer;
  double projection_rate = 1.0;      // learning rate of q, k, v and o relative to the other parameters'
  std::int64_t batch_tokens = 4096;  // of one pass, about
  int accumulation = 1;              // passes whose gradients make one step
  kernels::DType compute = kernels::DType::kBf16;
  std::uint64_t seed = 1;

  // The first of a layer's stages that teaches so.
  [[nodiscard]] const StageOptions& stage(Stage which) const {
    return which == Stage::kLayerwise ? layerwise : chained;
  }
  // All of a layer's stages, in order.
  [[nodiscard]] std::vector<LayerStage> stages() const;
  // All that the results depend on, but the data and the variant.
  [[nodiscard]] nlohmann::ordered_json to_json() const;
};

}  // namespace dslad::worker
