#include "kernels/cuda/step_memory.h"

#include <algorithm>
#include <utility>

namespace dslad::kernels::cuda {

StepMemory::Place StepMemory::add(std::size_t bytes) {
  constexpr std::size_t kAlignment = 16;
  const std::size_t taken = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const auto has_room = [&](const Block& block) { return block.on_host.size() - block.used >= taken; };
  while (filling_ < blocks_.size() && !has_room(blocks_[filling_])) ++filling_;
  if (filling_ == blocks_.size() && !add_block(taken)) return {nullptr, nullptr};
  Block& block = blocks_[filling_];
  const Place place{block.on_device.get() + block.used, block.on_host.data() + block.used};
  block.used += taken;
  return place;
}

// With room for the blocks to come if there is, else for this array alone; where there is not even that, in
// the place of blocks that nothing waits for.
bool StepMemory::add_block(std::size_t least) {
  const bool is_first = std::ranges::all_of(blocks_, [](const Block& block) { return block.used == 0; });
  if (add_block_of(std::max(least, kBlockBytes)) || add_block_of(least)) return true;
  if (!is_first || blocks_.empty()) return false;
  blocks_.clear();
  filling_ = 0;
  return add_block_of(least);
}

bool StepMemory::add_block_of(std::size_t bytes) {
  Device::Buffer on_device = device_.allocate(bytes);
  if (on_device == nullptr) return false;
  blocks_.push_back({std::move(on_device), std::vector<std::byte>(bytes)});
  return true;
}

bool StepMemory::reserve(std::size_t bytes) {
  if (!blocks_.empty() && blocks_.front().on_host.size() >= bytes) return true;
  blocks_.clear();
  return add_block_of(bytes);
}

void StepMemory::send(Operations& operations) {
  for (Block& block : blocks_) {
    if (block.used > 0) operations.write(block.on_device.get(), block.on_host.data(), block.used);
    block.used = 0;
  }
  filling_ = 0;
}

}  // namespace dslad::kernels::cuda
