// What was measured of plans, as a chain's manifest holds it. Pure.
#pragma once

#include <span>
#include <string_view>

#include "worker/eval/summary.h"
#include "worker/model/chain.h"

namespace dslad::worker {

// Puts each plan's headline and scores into the manifest. What was not measured this time stays as it was: so
// do the scores of other files. In `scores` a file is named by its last component and says `measured_by`.
// REQUIRES: `lines` are of `files`; no plan exceeds the distilled layers.
void add_quality(ChainManifest& manifest, std::span<const PlanHeadline> lines,
                 std::span<const FileSummary> files, std::string_view measured_by);

}  // namespace dslad::worker
