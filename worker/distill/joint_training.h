// A stage of several layers at once, each step of one set of them:
//   layer-wise   every layer on the teacher's own hidden states, so that one pass of the teacher serves them
//   all
//                (as in LoLCATs, arXiv 2410.10254), where a layer by itself runs all below it for its every
//                step
//   chained      the layers of a plan through the whole network, the plans in turn: one pass trains all
//   layers
//                of a plan, and a layer learns beside few converted ones as well as beside many
//
// Each layer has an optimizer, and clipping, of its own; in the layer-wise stage what it learns does not
// depend on which others learn beside it. All of it in memory; joint_stage.h keeps it on disk. Thread safety:
// one caller at a time.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "base/result.h"
#include "worker/distill/adamw.h"
#include "worker/distill/batch_source.h"
#include "worker/distill/distil_options.h"
#include "worker/distill/network.h"

namespace dslad::worker {

// What one step trains.
struct JointTurn {
  int plan = 0;  // chained: whose layers these are; layer-wise: 0
  TrainedLayers layers;
};

// The layers of `students` that each of `plans` converts, first layers of `order`.
std::vector<JointTurn> turns_of(std::span<const int> plans, std::span<const int> order,
                                const TrainedLayers& students);

struct JointStep {
  struct Layer {
    double loss = 0, gradient_norm = 0;  // layer-wise: its own loss; before clipping
  };
  Stage stage = Stage::kLayerwise;
  std::int64_t step = 0, steps = 0;  // done, of the stage
  int plan = 0;                      // chained: that learned
  std::map<int, Layer> layers;       // that learned
  Losses losses;                     // chained: of the plan; layer-wise: total alone, the layers' mean
  double rate = 0;
  std::int64_t tokens = 0;  // of this step
};

class JointTraining {
 public:
  // By that stage of `options`, the turns in turn. Borrows all but the list. REQUIRES: layer-wise or chained;
  // a turn, a student in each, a sequence.
  JointTraining(Network& network, Stage stage, std::vector<JointTurn> turns, const DistilOptions& options,
                std::span<const TrainingBatch> training);

  [[nodiscard]] Stage stage() const { return stage_; }
  [[nodiscard]] const std::map<int, StudentLayer*>& students() const { return students_; }  // by layer
  [[nodiscard]] bool done() const { return step_ >= options_.stage(stage_).steps; }
  // Errors: kInternal for a loss that is not finite (names layer and step); those of memory; kUnavailable
  // where the network was stopped: the step can be done again.
  Result<JointStep> step();

  [[nodiscard]] std::int64_t steps_done() const { return step_; }
  [[nodiscard]] std::int64_t tokens() const { return tokens_; }  // trained on, by all steps
  [[nodiscard]] BatchCursor cursor() const { return source_.cursor(); }
  [[nodiscard]] const std::map<int, AdamW>& optimizers() const { return optimizers_; }  // by layer

  // Goes on from there; what the layers and their optimizers hold is put back by restore_layer.
  void seek(std::int64_t step, std::int64_t tokens, BatchCursor cursor);
  // REQUIRES: sizes as the layer's; seek first.
  void restore_layer(int layer, std::span<const float> values, std::span<const float> first_moment,
                     std::span<const float> second_moment);

 private:
  [[nodiscard]] std::int64_t steps_of(int layer) const;
  Status pass(const JointTurn& turn, double scale, JointStep& report);

  Network& network_;
  Stage stage_;
  std::vector<JointTurn> turns_;
  const DistilOptions& options_;
  CosineSchedule schedule_;
  BatchSource source_;
  std::map<int, StudentLayer*> students_;
  std::map<int, AdamW> optimizers_;
  std::int64_t step_ = 0, tokens_ = 0;
};

}  // namespace dslad::worker
