// The training of one layer through its stages: steps, log, checkpoints, and going on after a stop.
//
// Stages follow one another with a fresh optimizer and schedule each. Everything random comes from the seed
// and the cursor, so a run that goes on from a checkpoint repeats the losses of one that was never stopped.
// Thread safety: one caller at a time; `stop` may be set from anywhere, a signal handler included.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "worker/distill/batch_source.h"
#include "worker/distill/checkpoint.h"
#include "worker/distill/distil_options.h"
#include "worker/distill/joint_training.h"
#include "worker/distill/network.h"
#include "worker/distill/training_log.h"

namespace dslad::worker {

struct StepReport {
  int layer = 0;
  Stage loss = Stage::kLayerwise;    // of the stage
  std::string stage;                 // its name
  std::int64_t step = 0, steps = 0;  // done, of the stage
  Losses losses;                     // layer-wise: total alone
  double rate = 0, gradient_norm = 0;
  double tokens_per_second = 0;
  std::int64_t tokens = 0;
};

struct TrainingSetup {
  const DistilOptions* options;
  std::span<const TrainingBatch> training, held_out;  // sequences; neither is empty
  // Of each of the options' further stages; absent or empty: those of `training`.
  std::vector<std::span<const TrainingBatch>> further_sequences;
  std::filesystem::path dir;                       // of the log and the checkpoints
  double checkpoint_seconds = 60;                  // between two of them
  std::function<void(const StepReport&)> on_step;  // may be empty
  const std::atomic<bool>* stop = nullptr;         // set: checkpoint, then kUnavailable "stopped"
  // Of a stage that trains several layers at once (joint_stage.h); may be empty.
  std::function<void(const JointStep&, double tokens_per_second)> on_joint_step;
  // Asked before each step of one of the first two stages of which so many are done: whether the stage ends
  // there, before its steps are done; empty: it does not.
  std::function<Result<bool>(Stage, std::int64_t done)> ends_early = {};
};

// What the layer-wise stage of a layer came to where it was run elsewhere.
struct LayerwiseResult {
  std::vector<float> values;  // of the layer's size
  std::int64_t tokens = 0;    // trained on
};

struct LayerOutcome {
  std::vector<double> kl, ce;      // held out, nats: as initialised, and after each stage
  std::vector<double> reached_kl;  // the same, what an undone stage had reached included
  std::int64_t tokens = 0;         // trained on, all stages
};

// Trains `layer`, on top of `converted`; a checkpoint of this very layer is taken up, where one lies in
// setup.dir. `layerwise` stands for the layer's first stage; null: it is run here. Errors: kInternal for a
// loss that is not finite (names layer, stage and step; the last checkpoint stays); kUnavailable when stopped
// (a checkpoint was written); those of files and memory.
Result<LayerOutcome> train_layer(Network& network, StudentLayer& layer, const StudentLayers& converted,
                                 const TrainingSetup& setup, const LayerwiseResult* layerwise = nullptr);

}  // namespace dslad::worker
