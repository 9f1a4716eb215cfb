// The students that an order was measured with, as a chain of their own: the layers of other chains may start
// from them (LearnedChain), so that their layer-wise stage is not run again. A function of its arguments.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "worker/distill/sensitivity.h"
#include "worker/model/chain.h"
#include "worker/model/config.h"

namespace dslad::worker {

// Writes the layers in float32, then chain.json, into the folder `dir`. `measured` has the order and the
// evidence that follow from `alone`. Errors: those of writing.
Status save_student_chain(const std::filesystem::path& dir, ChainManifest measured,
                          const nlohmann::json& recipe, const LlamaConfig& config,
                          const ConvertedAlone& alone);

}  // namespace dslad::worker
