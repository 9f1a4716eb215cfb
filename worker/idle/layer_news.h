// What distilling in idle time tells of a layer, for who reports layers.
#pragma once

#include <optional>
#include <string>

#include "schema/reports.h"

namespace dslad::worker {

struct LayerNews {
  int layer = 0;
  // kPlanned: its turn comes; kDistilling; kFailed: its plan is not good enough; kTransformer: none of these,
  // until the next news. That it is distilled shows in the chain.
  schema::LayerState state = schema::LayerState::kTransformer;
  std::optional<double> quality;  // of the plan that ends with it, where that was measured
  std::string reason;             // of kFailed
  bool operator==(const LayerNews&) const = default;
};

}  // namespace dslad::worker
