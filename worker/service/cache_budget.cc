#include "worker/service/cache_budget.h"

#include <algorithm>
#include <fmt/format.h>

namespace dslad::worker {
namespace {

constexpr std::size_t kFreeShare = 16;  // one of so many stays free
constexpr std::size_t kMib = 1 << 20;

std::string uses(const MemoryUse& use) {
  return fmt::format("weights take {} MiB and steps {} MiB of the {} MiB that the worker may use ({})",
                     use.weights / kMib, use.steps / kMib, use.available / kMib, use.source);
}

}  // namespace

Result<std::size_t> default_cache_bytes(const MemoryUse& use) {
  const std::size_t usable = use.available - use.available / kFreeShare;
  const std::size_t taken = use.weights + use.steps;
  if (taken + kMib > usable) {
    return Error{ErrorCode::kResourceExhausted,
                 uses(use) + ", which leaves none for caches; give it more, or take a smaller --dtype"};
  }
  const std::size_t share = use.shared ? use.available / 4 : use.available / 10 * 9;
  return std::min(share, usable - taken);
}

std::string cache_warning(const MemoryUse& use, std::size_t cache_bytes) {
  if (use.weights + use.steps + cache_bytes <= use.available) return {};
  return fmt::format(
      "{}: with {} MiB of caches that is more than there is, and the system may end the worker; "
      "lower --cache-mib",
      uses(use), cache_bytes / kMib);
}

}  // namespace dslad::worker
