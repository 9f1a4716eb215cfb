// A queue of kernels on a device. The first error stays, and nothing is launched behind it. For nvcc alone.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/device.h"

namespace dslad::kernels::cuda {

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads)
    run_kernel(const __grid_constant__ typename Kernel::Args args) {
  Kernel::run(args);
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
      error_ = cudaFuncSetAttribute(run_kernel<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(grid.shared_bytes));
      if (error_ != cudaSuccess) return;
    }
    const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y),
                      static_cast<unsigned>(grid.z));
    run_kernel<Kernel><<<blocks, Kernel::kThreads, grid.shared_bytes, stream_>>>(args);
    error_ = cudaGetLastError();
  }

  [[nodiscard]] cudaError_t error() const { return error_; }

 private:
  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace dslad::kernels::cuda
