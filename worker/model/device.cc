#include "worker/model/device.h"

#include <charconv>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/cuda/module.h"

namespace dslad::worker {
namespace {

constexpr std::string_view kCuda = "cuda";

// The number of a CUDA device; nothing where the name is of none.
std::optional<int> cuda_index(std::string_view name) {
  if (!name.starts_with(kCuda)) return std::nullopt;
  name.remove_prefix(kCuda.size());
  if (name.empty()) return 0;
  int index = -1;
  const char* const end = name.data() + name.size();
  if (name.front() != ':' || name.size() < 2 || name[1] == '-') return std::nullopt;
  const auto read = std::from_chars(name.data() + 1, end, index);
  return read.ec == std::errc() && read.ptr == end ? std::optional(index) : std::nullopt;
}

}  // namespace

std::string check_device_name(const std::string& name) {
  if (name == "cpu" || cuda_index(name)) return {};
  return fmt::format("device '{}' is unknown; use cpu, cuda or cuda:N", name);
}

Result<std::shared_ptr<kernels::Device>> open_device(const std::string& name, kernels::WeightFormat format) {
  if (const std::string wrong = check_device_name(name); !wrong.empty())
    return Error{ErrorCode::kInvalidArgument, wrong};
  if (name == "cpu") return kernels::cpu_device();
  std::string error;
  auto device = kernels::cuda::open_device(*cuda_index(name), error);
  if (device == nullptr) return Error{ErrorCode::kUnavailable, error};
  if (device->holds(format)) return device;
  std::vector<std::string_view> held;
  for (const std::string_view other : kernels::kWeightFormatNames) {
    if (device->holds(*kernels::parse_weight_format(other))) held.push_back(other);
  }
  return Error{ErrorCode::kInvalidArgument, fmt::format("{} holds no weights of {}; use --dtype {}", name,
                                                        to_string(format), fmt::join(held, " or "))};
}

Result<std::unique_ptr<kernels::Backend>> make_backend(kernels::Device& device, int threads) {
  auto backend = device.make_backend(threads);
  if (backend != nullptr) return backend;
  if (!device.error().empty()) return Error{ErrorCode::kUnavailable, std::string(device.error())};
  return Error{ErrorCode::kUnavailable,
               fmt::format("CUDA: {} has no memory for its own needs, or cuBLASLt cannot use it; look at "
                           "nvidia-smi for who else does",
                           device.name())};
}

Status check_backend(const kernels::Backend& backend) {
  if (backend.error().empty()) return ok_status();
  return Error{ErrorCode::kUnavailable, std::string(backend.error())};
}

Error no_memory(const kernels::Device& device, std::string what) {
  if (!device.error().empty()) return {ErrorCode::kUnavailable, std::string(device.error())};
  return {ErrorCode::kResourceExhausted, std::move(what)};
}

}  // namespace dslad::worker
