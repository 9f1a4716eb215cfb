// Runs the bodies of CUDA kernels on the host: blocks one after another, the threads of a block as fibres
// that take turns at barriers and exchanges.
//
// What a GPU leaves to chance is made to show: shared memory is poisoned before each block (NaN as float),
// and where a copy is on its way; it arrives when its thread waits for it, and whoever never does is an
// error; the order in which threads take turns is the caller's, so that a missing barrier gives another
// result in the other order, and threads that wait at different barriers, or for threads that have ended, are
// an error instead of a hang. Addresses are the host's, so the sanitizers watch every access. Thread safety:
// one executor at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>

#include "kernels/cuda/device.h"

namespace dslad::kernels::cuda::testing {

// A kernel that would hang, or has no defined result, on a device.
struct KernelError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Order : std::uint8_t {
  kAscending,
  kDescending
};  // of blocks, and of threads between two barriers

class Executor {
 public:
  explicit Executor(Order order = Order::kAscending);
  ~Executor();

  // Throws KernelError.
  void run(const Grid& grid, int threads, const std::function<void()>& body);

  template <class Kernel>
  void launch(const typename Kernel::Args& args) {
    static_assert(Kernel::kThreads % kWarp == 0 && Kernel::kThreads <= 1024);
    run(Kernel::grid(args), Kernel::kThreads, [&args] { Kernel::run(args); });
  }

 private:
  friend struct DeviceFunctions;
  class Block;
  Order order_;
  std::unique_ptr<Block> block_;
};

}  // namespace dslad::kernels::cuda::testing
