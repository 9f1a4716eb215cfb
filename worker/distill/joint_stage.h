// The layer-wise stage of several layers as a part of a run: steps, log, checkpoints, and going on after a
// stop.
//
// What it comes to stays in the folder until the layers' own training (layer_training.h) has taken it. A run
// that goes on from a checkpoint repeats one that was never stopped. Thread safety: as layer_training.h's.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "worker/distill/joint_checkpoint.h"
#include "worker/distill/layer_training.h"

namespace dslad::worker {

// Trains `students`, which have their first values, from where the folder's checkpoint of these very layers
// says to its end; then load_joint_layer has what they learned. Errors: as train_layer's.
Status train_jointly(Network& network, const TrainedLayers& students, const TrainingSetup& setup);

// Puts `students` into the folder as such a stage leaves them, each trained on `tokens` tokens.
Status keep_joint_students(const std::filesystem::path& dir, const TrainedLayers& students,
                           std::int64_t tokens);

}  // namespace dslad::worker
