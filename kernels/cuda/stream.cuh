// A queue of kernels on a device. The first error stays, and nothing is launched behind it. For CUDA's
// compilers alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <cuda_runtime.h>

#include "kernels/cuda/device.h"

namespace dslad::kernels::cuda {

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads)
    run_kernel(const __grid_constant__ typename Kernel::Args args) {
  Kernel::run(args);
}

// Lets the kernel have as much dynamic shared memory as the device allows, once for each device: a limit that
// followed each launch could be lowered by a caller on another stream in between.
template <class Kernel>
cudaError_t allow_most_shared_memory() {
  static std::atomic<std::uint64_t> allowed{0};  // a bit a device
  int device = 0, most = 0;
  cudaFuncAttributes kernel{};
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
  const std::uint64_t bit = std::uint64_t{1} << (device % 64);
  if ((allowed & bit) != 0) return cudaSuccess;
  cudaError_t error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error == cudaSuccess) error = cudaFuncGetAttributes(&kernel, run_kernel<Kernel>);
  if (error == cudaSuccess) {
    error = cudaFuncSetAttribute(run_kernel<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 most - static_cast<int>(kernel.sharedSizeBytes));
  }
  if (error == cudaSuccess) allowed |= bit;
  return error;
}

class Stream {
 public:
  explicit Stream(cudaStream_t stream) : stream_(stream) {}

  template <class Kernel>
  void launch(const typename Kernel::Args& args) {
    const Grid grid = Kernel::grid(args);
    if (error_ != cudaSuccess || grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    constexpr std::size_t kWithoutAsking = 32 * 1024;  // of 48 KiB; a kernel has static memory besides
    if (grid.shared_bytes > kWithoutAsking) {
      error_ = allow_most_shared_memory<Kernel>();
      if (error_ != cudaSuccess) return forget_error();
    }
    const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y),
                      static_cast<unsigned>(grid.z));
    forget_error();  // of whatever failed before: it is no fault of this launch
    run_kernel<Kernel><<<blocks, Kernel::kThreads, grid.shared_bytes, stream_>>>(args);
    error_ = cudaGetLastError();
  }

  [[nodiscard]] cudaError_t error() const { return error_; }

 private:
  static void forget_error() { static_cast<void>(cudaGetLastError()); }

  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace dslad::kernels::cuda
