// Where the arrays of a step lie on the device: ids, positions, pieces, pages and rows, which the host makes.
//
// An array's address is known when it is added, its bytes arrive with send(), all in one copy or few. Arrays
// of the same sizes, added in the same order, have the same addresses in every step. What a step has sent is
// overwritten by the next one's, behind all that the step has queued. Thread safety: one user at a time.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/cuda/operations.h"
#include "kernels/device.h"

namespace dslad::kernels::cuda {

class StepMemory {
 public:
  explicit StepMemory(Device& device) : device_(device) {}

  struct Place {
    std::byte* on_device;  // aligned to 16 bytes; null: the device has no memory
    std::byte* on_host;    // to be filled before send()
  };
  [[nodiscard]] Place add(std::size_t bytes);
  // Room for a step's arrays, in one place. False: the device has not enough. REQUIRES: nothing was added
  // since send().
  bool reserve(std::size_t bytes);
  // To the device, with a copy queued for each block of memory. The next step's arrays come from the start.
  void send(Operations& operations);

 private:
  static constexpr std::size_t kBlockBytes = std::size_t{256} << 10;  // or an array's, where that is larger

  struct Block {
    Device::Buffer on_device;
    std::vector<std::byte> on_host;
    std::size_t used = 0;
  };

  bool add_block(std::size_t least);
  bool add_block_of(std::size_t bytes);

  Device& device_;
  std::vector<Block> blocks_;  // not freed while operations that wait point into them
  std::size_t filling_ = 0;    // index of the block that arrays are added to
};

}  // namespace dslad::kernels::cuda
