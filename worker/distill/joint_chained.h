// The chained stage of a whole chain at once, after the last of its layers: its plans learn in turn
// (joint_training.h), so that what one layer gets wrong the others learn to make up for.
//
// The layers' files stay until all of them are made anew, under other names, and chain.json, replaced as a
// whole, names those: a worker serves the chain of before up to then. Thread safety: as chain_training.h's.
#pragma once

#include <vector>

#include "base/result.h"
#include "worker/distill/chain_training.h"

namespace dslad::worker {

// The plans that learn where nobody names them: quarters of `layers`.
std::vector<int> quarter_plans(int layers);

// Whether the stage has been run on this very chain.
bool is_trained_jointly(const ChainManifest& manifest);

// Runs the stage, or goes on with it, and measures every plan anew; where it leaves the plans it trained
// further from the teacher, on average, the layers stay as they were. `teacher_ce`: of the teacher, held out.
// REQUIRES: the manifest has layers; options.chained has steps. Plans of options.joint_plans for which layers
// are missing are passed over. Errors: those of train_jointly and of files.
Status train_chain_jointly(kernels::TrainingBackend& backend, Network& network, const ChainSetup& setup,
                           double teacher_ce, ChainManifest& manifest);

// Removes what the stage leaves beside a chain that has it: its checkpoint, and the files of before.
Status drop_joint_chained(const std::filesystem::path& dir, const ChainManifest& manifest);

}  // namespace dslad::worker
