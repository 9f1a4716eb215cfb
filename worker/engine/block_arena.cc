#include "worker/engine/block_arena.h"

namespace dslad::worker {

BlockArena::BlockArena(std::int32_t pages) : references_(static_cast<std::size_t>(pages), 0), free_(pages) {}

std::optional<std::int32_t> BlockArena::allocate_page() {
  if (free_ == 0) return std::nullopt;
  while (references_[static_cast<std::size_t>(low_hint_)] != 0) ++low_hint_;
  references_[static_cast<std::size_t>(low_hint_)] = 1;
  --free_;
  return low_hint_;
}

std::optional<std::int32_t> BlockArena::allocate_run(std::int32_t count) {
  std::int32_t length = 0;
  for (std::int32_t page = size() - 1; page >= 0; --page) {
    length = references_[static_cast<std::size_t>(page)] == 0 ? length + 1 : 0;
    if (length < count) continue;
    for (std::int32_t taken = page; taken < page + count; ++taken)
      references_[static_cast<std::size_t>(taken)] = 1;
    free_ -= count;
    return page;
  }
  return std::nullopt;
}

void BlockArena::retain(std::int32_t page) {
  ++references_[static_cast<std::size_t>(page)];
}

void BlockArena::release(std::int32_t page) {
  if (--references_[static_cast<std::size_t>(page)] > 0) return;
  ++free_;
  if (page < low_hint_) low_hint_ = page;
}

void BlockArena::release_run(std::int32_t first, std::int32_t count) {
  for (std::int32_t page = first; page < first + count; ++page) release(page);
}

}  // namespace dslad::worker
