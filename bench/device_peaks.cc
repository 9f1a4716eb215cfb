#include "bench/device_peaks.h"

#include "bench/peaks.h"
#include "worker/model/device.h"

namespace dslad::bench {

Result<double> copy_bandwidth(kernels::Device& device, kernels::Backend& backend) {
  constexpr std::size_t kBytes = std::size_t{1} << 29;
  constexpr int kRounds = 5, kTimes = 8;
  const auto from = device.allocate(kBytes), to = device.allocate(kBytes);
  if (from == nullptr || to == nullptr)
    return Error{ErrorCode::kResourceExhausted, "the device has no GiB to copy"};
  std::byte last{};
  const double seconds = best_seconds(kRounds, [&] {
    for (int i = 0; i < kTimes; ++i) backend.copy(to.get(), from.get(), kBytes);
    backend.read(&last, to.get(), 1);
  });
  if (const Status sound = worker::check_backend(backend); !sound) return sound.error();
  return 2.0 * kTimes * static_cast<double>(kBytes) / seconds;
}

}  // namespace dslad::bench
