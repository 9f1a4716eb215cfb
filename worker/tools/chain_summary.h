// What `dslad-model inspect` says of a model's conversion chain. Pure; safe from any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "worker/model/loaded_chain.h"

namespace dslad::worker {

// Who made it, and a line a plan: the layer it adds, what was measured of it, how good the plan is.
std::string chain_text(const LoadedChain& chain);

// The same as an object; null where there is no chain and nothing was refused.
nlohmann::ordered_json chain_json(const LoadedChain& chain);

}  // namespace dslad::worker
