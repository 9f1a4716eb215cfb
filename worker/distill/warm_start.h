// A layer that begins from what another one has learned. Safe from any thread.
#pragma once

#include "base/result.h"
#include "worker/model/dsla_variant.h"

namespace dslad::worker {

// Whether a layer of `variant` can begin with the tensors of one of `learned`: kInvalidArgument where they
// differ in more than their names.
Status check_warm_start(const DslaVariant& learned, const DslaVariant& variant);

}  // namespace dslad::worker
