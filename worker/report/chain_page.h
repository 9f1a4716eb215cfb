// A chain's story as one self-contained HTML page: the order and why, losses, gates, quality by plan.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "worker/model/chain.h"

namespace dslad::worker {

// `log`: the lines of log.jsonl; empty: no loss curves. What was not measured is left out of the page, which
// says so. A pure function.
std::string chain_page(const ChainManifest& manifest, const std::vector<nlohmann::json>& log);

}  // namespace dslad::worker
