// A stage of several layers at once (joint_training.h) as a part of a run: steps, log, checkpoints, and going
// on after a stop.
//
// What it comes to stays in the folder until it is taken: by the layers' own training (layer_training.h), or
// into the chain (joint_chained.h). A run
// that goes on from a checkpoint repeats one that was never stopped. Thread safety: as layer_training.h's.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "worker/distill/joint_checkpoint.h"
#include "worker/distill/layer_training.h"

namespace dslad::worker {

// Trains the turns' layers, which have their first values, from where the folder's checkpoint of this stage
// of these very layers says to its end; then load_joint_layer has what they learned. Errors: as
// train_layer's.
Status train_jointly(Network& network, Stage stage, std::vector<JointTurn> turns, const TrainingSetup& setup);

// Puts `students` into the folder as the layer-wise stage leaves them, each trained on `tokens` tokens.
Status keep_joint_students(const std::filesystem::path& dir, const TrainedLayers& students,
                           std::int64_t tokens);

}  // namespace dslad::worker
