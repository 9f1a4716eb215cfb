// What a device can do right now: the limit that its benches print beside their figures.
#pragma once

#include "base/result.h"
#include "kernels/backend.h"

namespace dslad::bench {

// Bytes per second, read and written together, of copies of half a GiB within the device's memory.
// kResourceExhausted: it has no GiB; kUnavailable: it has failed.
Result<double> copy_bandwidth(kernels::Device& device, kernels::Backend& backend);

}  // namespace dslad::bench
