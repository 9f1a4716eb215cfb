#include "worker/distill/warm_start.h"

#include <fmt/format.h>

namespace dslad::worker {

Status check_warm_start(const DslaVariant& learned, const DslaVariant& variant) {
  DslaVariant same = learned;
  same.name = variant.name;
  same.history_bias = variant.history_bias;
  same.recency_bias = variant.recency_bias;
  if (same == variant) return ok_status();
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("a layer of variant {} cannot start from one of variant {}: only the biases that "
                           "gates start from may differ",
                           variant.name, learned.name)};
}

}  // namespace dslad::worker
