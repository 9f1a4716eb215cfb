// The device that a program computes on, by the name that people give it.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "kernels/backend.h"
#include "kernels/device.h"

namespace dslad::worker {

// Empty where `name` is "cpu", "cuda" or "cuda:N"; else what is wrong, for a command line.
std::string check_device_name(const std::string& name);

// "cpu", "cuda:N", or "cuda", which is cuda:0. Never another device than the one that is named.
// kInvalidArgument: another name, or a device that cannot hold weights in this format; kUnavailable: the
// module, the driver or the device is not there, which the message says.
Result<std::shared_ptr<kernels::Device>> open_device(const std::string& name, kernels::WeightFormat format);

// kUnavailable: the device has not what it takes. `threads`: of the host, where they do the work.
Result<std::unique_ptr<kernels::Backend>> make_backend(kernels::Device& device, int threads);

// kUnavailable: the device has failed, in its words. A backend tells late, at the latest with what it gives:
// to be asked after sample(), log_probabilities() and read(), before anyone believes it.
Status check_backend(const kernels::Backend& backend);

// Why a device gave null for memory. kUnavailable: it has failed, in its words; else kResourceExhausted, and
// `what` says what there is no memory for.
Error no_memory(const kernels::Device& device, std::string what);

}  // namespace dslad::worker
