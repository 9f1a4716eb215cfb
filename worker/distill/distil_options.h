// What a distillation run is asked to do. Plain values; the recipe in chain.json is their record.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernels/tensor.h"
#include "worker/distill/adamw.h"
#include "worker/distill/network.h"

namespace dslad::worker {

// In the order in which a layer passes through them. The long-context stage has the chained stage's losses,
// on sequences of its own.
enum class Stage : std::uint8_t { kLayerwise, kChained, kLongContext };
inline constexpr std::array kStages = {Stage::kLayerwise, Stage::kChained, Stage::kLongContext};

std::string_view to_string(Stage stage);         // "layerwise", "chained", "long_context"
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
  StageOptions long_context{0, 3e-4, 3e-6, 0};
  // Layers that look things up need many more steps than those that do not: of the chained stage where the
  // held-out KL before it is above `hard_kl`; steps 0: no layer is treated so.
  StageOptions hard{0, 1e-3, 1e-5, 0};
  double hard_kl = 0.05;  // nats a token
  // A stage that leaves the held-out divergence higher than it found it is undone.
  bool undo_worse = true;
  LossWeights losses{1.0, 0.1, 1.0};
  AdamWOptions optimizer;
  double projection_rate = 1.0;      // learning rate of q, k, v and o relative to the other parameters'
  std::int64_t batch_tokens = 4096;  // of one pass, about
  int accumulation = 1;              // passes whose gradients make one step
  kernels::DType compute = kernels::DType::kBf16;
  std::uint64_t seed = 1;

  [[nodiscard]] const StageOptions& stage(Stage which) const {
    switch (which) {
      case Stage::kLayerwise:
        return layerwise;
      case Stage::kChained:
        return chained;
      case Stage::kLongContext:
        break;
    }
    return long_context;
  }
  // The same, but for a layer whose held-out divergence stands at `kl` before it.
  [[nodiscard]] const StageOptions& stage_at(Stage which, double kl) const {
    return which == Stage::kChained && hard.steps > 0 && kl > hard_kl ? hard : stage(which);
  }
  // All that the results depend on, but the data and the variant.
  [[nodiscard]] nlohmann::ordered_json to_json() const;
};

}  // namespace dslad::worker
