#include "worker/engine/block_arena.h"

namespace dslad::worker {

BlockArena::BlockArena(std::int32_t pages) : pages_(static_cast<std::size_t>(pages)), free_(pages) {}

std::optional<std::int32_t> BlockArena::allocate_page() {
  if (free_ == 0) return std::nullopt;
  while (!at(low_hint_).free()) ++low_hint_;
  change(low_hint_, 1, 0);
  return low_hint_;
}

std::optional<std::int32_t> BlockArena::allocate_run(std::int32_t count) {
  std::int32_t length = 0;
  for (std::int32_t page = size() - 1; page >= 0; --page) {
    length = at(page).free() ? length + 1 : 0;
    if (length < count) continue;
    for (std::int32_t taken = page; taken < page + count; ++taken) change(taken, 1, 0);
    return page;
  }
  return std::nullopt;
}

void BlockArena::retain(std::int32_t page) {
  change(page, 1, 0);
}

void BlockArena::release(std::int32_t page) {
  change(page, -1, 0);
}

void BlockArena::keep(std::int32_t page) {
  change(page, 0, 1);
}

void BlockArena::forget(std::int32_t page) {
  change(page, 0, -1);
}

void BlockArena::change(std::int32_t number, std::int32_t references, std::int32_t keepers) {
  ++changes_;
  Page& page = pages_[static_cast<std::size_t>(number)];
  if (page.free()) --free_;
  if (page.spare()) --spare_;
  page.references += references;
  page.keepers += keepers;
  if (page.spare()) ++spare_;
  if (!page.free()) return;
  ++free_;
  if (number < low_hint_) low_hint_ = number;
}

}  // namespace dslad::worker
