#include "worker/distill/warm_start.h"

#include <fmt/format.h>

namespace dslad::worker {

Status check_warm_start(const DslaVariant& learned, const DslaVariant& variant) {
  DslaVariant same = learned;
  same.name = variant.name;
  if (same == variant) return ok_status();
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("a layer of variant {} cannot start from one of variant {}: they compute "
                           "something else",
                           variant.name, learned.name)};
}

}  // namespace dslad::worker
