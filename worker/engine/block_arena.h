// The memory of all sequences: one arena of equal pages, handed out from both ends.
//
// KV pages are single pages taken from the low end, DSLA states are runs of pages taken from the high end.
// One arena makes the memory budget exact: whatever mix of plans runs, keys, values and states together never
// exceed it, and a page freed by one kind serves the other. A page may also be kept by those who would rather
// have it than need it: without other references it is spare. Thread safety: one user at a time. Invariant: a
// page is free or has one or more references, keepers or both.
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
  // Drops a reference. REQUIRES: the page has one.
  void release(std::int32_t page);

  // Another keeper of the page. REQUIRES: the page is not free.
  void keep(std::int32_t page);
  // Drops a keeper. REQUIRES: the page has one.
  void forget(std::int32_t page);

  [[nodiscard]] std::int32_t size() const { return static_cast<std::int32_t>(pages_.size()); }
  [[nodiscard]] std::int32_t free_pages() const { return free_; }
  [[nodiscard]] std::int32_t spare_pages() const { return spare_; }
  [[nodiscard]] bool spare(std::int32_t page) const { return at(page).spare(); }
  // How many references and keepers have come and gone: where it stands as it did, so does every page.
  [[nodiscard]] std::uint64_t changes() const { return changes_; }

 private:
  struct Page {
    std::int32_t references = 0, keepers = 0;
    [[nodiscard]] bool free() const { return references == 0 && keepers == 0; }
    [[nodiscard]] bool spare() const { return references == 0 && keepers > 0; }
  };
  [[nodiscard]] const Page& at(std::int32_t page) const { return pages_[static_cast<std::size_t>(page)]; }
  // Adds to a page's references and keepers, and counts what it becomes.
  void change(std::int32_t page, std::int32_t references, std::int32_t keepers);

  std::vector<Page> pages_;
  std::int32_t free_, spare_ = 0;
  std::int32_t low_hint_ = 0;  // no page below is free
  std::uint64_t changes_ = 0;
};

}  // namespace dslad::worker
