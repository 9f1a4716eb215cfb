// The layer-wise stage of several layers at once: each learns on the teacher's own hidden states, so that one
// pass of the teacher serves them all (as in LoLCATs, arXiv 2410.10254), where a layer by itself runs all
// below it for its every step.
//
// Each layer has an optimizer, and clipping, of its own: what it learns does not depend on which others learn
// beside it. All of it in memory; joint_stage.h keeps it on disk. Thread safety: one caller at a time.
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

struct JointStep {
  struct Layer {
    double loss = 0, gradient_norm = 0;  // before clipping
  };
  std::int64_t step = 0, steps = 0;  // done, of the stage
  std::map<int, Layer> layers;
  double rate = 0;
  std::int64_t tokens = 0;  // of this step

  [[nodiscard]] double mean_loss() const;
};

class JointTraining {
 public:
  // By the layer-wise stage of `options`. Borrows all but the list. REQUIRES: a student, a sequence.
  JointTraining(Network& network, TrainedLayers students, const DistilOptions& options,
                std::span<const TrainingBatch> training);

  [[nodiscard]] bool done() const { return step_ >= options_.layerwise.steps; }
  // Errors: kInternal for a loss that is not finite (names layer and step); those of memory.
  Result<JointStep> step();

  [[nodiscard]] std::int64_t steps_done() const { return step_; }
  [[nodiscard]] std::int64_t tokens() const { return tokens_; }  // trained on, by each layer
  [[nodiscard]] BatchCursor cursor() const { return source_.cursor(); }
  [[nodiscard]] const std::map<int, AdamW>& optimizers() const { return optimizers_; }  // by layer

  // Goes on from there; what the layers and their optimizers hold is put back by restore_layer.
  void seek(std::int64_t step, std::int64_t tokens, BatchCursor cursor);
  // REQUIRES: sizes as the layer's; seek first.
  void restore_layer(int layer, std::span<const float> values, std::span<const float> first_moment,
                     std::span<const float> second_moment);

 private:
  [[nodiscard]] StudentLayer& student(int layer) const { return *students_[static_cast<std::size_t>(layer)]; }

  Network& network_;
  TrainedLayers students_;
  const DistilOptions& options_;
  CosineSchedule schedule_;
  BatchSource source_;
  std::map<int, AdamW> optimizers_;
  std::int64_t step_ = 0, tokens_ = 0;
};

}  // namespace dslad::worker
