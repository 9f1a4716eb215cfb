// The memory of all sequences: one arena of equal pages, handed out from both ends.
//
// KV pages are single pages taken from the low end, DSLA states are runs of pages taken from the high end.
// One arena makes the memory budget exact: whatever mix of plans runs, keys, values and states together never
// exceed it, and a page freed by one kind serves the other. Thread safety: one user at a time. Invariant: a
// page is free or has one or more references.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace dslad::worker {

class BlockArena {
 public:
  // `pages` pages; the arena numbers pages 0..pages-1 and does not touch memory itself.
  explicit BlockArena(std::int32_t pages);

  // The lowest free page, with one reference; nothing when none is free.
  std::optional<std::int32_t> allocate_page();
  // The first page of the highest free run of `count` pages, each with one reference. REQUIRES: count > 0.
  std::optional<std::int32_t> allocate_run(std::int32_t count);

  // Another reader of the page. REQUIRES: the page is not free.
  void retain(std::int32_t page);
  // Drops a reference; the page is free with the last one. REQUIRES: the page is not free.
  void release(std::int32_t page);
  void release_run(std::int32_t first, std::int32_t count);

  [[nodiscard]] std::int32_t size() const { return static_cast<std::int32_t>(references_.size()); }
  [[nodiscard]] std::int32_t free_pages() const { return free_; }

 private:
  std::vector<std::int32_t> references_;  // by page; 0: free
  std::int32_t free_;
  std::int32_t low_hint_ = 0;  // no page below is free
};

}  // namespace dslad::worker
