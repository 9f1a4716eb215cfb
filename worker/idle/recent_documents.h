// The texts of the latest jobs, kept on disk so that layers can be distilled on them, where that was asked
// for.
//
//   FOLDER/                0700; locked by the worker that keeps texts here
//     NUMBER-HASH.txt      0600; one text, UTF-8. NUMBER: 16 digits, larger is later; HASH: of the text
//     new                  one that is being written
// A text has its name once it is written whole, so a kill leaves none that is cut; the hash tells of one that
// a power failure cut, since nothing here is worth waiting for the disk. Files of other names are left alone.
// Thread safety: RecentDocuments one thread; the functions any, beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/digest.h"
#include "base/result.h"
#include "worker/files/folder_lock.h"

namespace dslad::worker {

class RecentDocuments {
 public:
  // Makes the folder where there is none, else goes on with what it holds. `budget`: bytes of all texts; each
  // counts in whole blocks of 4 KiB, as it does on the disk. Errors: kRefused, another process keeps texts
  // here; kUnavailable.
  static Result<RecentDocuments> open(std::filesystem::path folder, std::uint64_t budget);

  // Bytes that are kept of one text, its first ones: a quarter of the budget, so that one alone does not take
  // the place of all others.
  static std::size_t longest(std::uint64_t budget) { return static_cast<std::size_t>(budget / 4); }

  // Keeps the text as the latest, without those that were there longest as far as it needs their room. One
  // that is there becomes the latest. Nothing is lost where it fails, nor where the text is empty. Errors,
  // which name the folder and are the same as long as what is wrong is: kNotFound, it is gone; kUnavailable;
  // kResourceExhausted, the disk is full. REQUIRES: UTF-8.
  Status add(std::string_view text);

 private:
  struct Kept {
    Hash hash;
    std::uint64_t bytes = 0;  // as they count
  };

  RecentDocuments(std::filesystem::path folder, std::uint64_t budget, FolderLock lock)
      : folder_(std::move(folder)), budget_(budget), lock_(std::move(lock)) {}
  Status read_folder();
  Status write(std::string_view text) const;
  // Removes the oldest until `bytes` more fit.
  Status make_room(std::uint64_t bytes);
  void forget(std::map<std::uint64_t, Kept>::iterator kept);
  void remember(std::uint64_t number, const Kept& kept);
  [[nodiscard]] std::filesystem::path path_of(std::uint64_t number, const Hash& hash) const;
  [[nodiscard]] Error failed(std::string_view what) const;  // of errno

  std::filesystem::path folder_;
  std::uint64_t budget_;
  FolderLock lock_;
  std::map<std::uint64_t, Kept> kept_;  // by number
  std::unordered_map<Hash, std::uint64_t> numbers_;
  std::uint64_t bytes_ = 0;  // of all, as they count
};

// Bytes of the texts in the folder; 0 where it is missing or cannot be read.
std::uint64_t recent_bytes(const std::filesystem::path& folder);

// Writes the folder's texts into one file (0600), as `distil --text` reads texts that do not belong together:
// a line each, the oldest first. Those that a power failure damaged are removed, those that go meanwhile left
// out. Returns the bytes of all; 0: there are none, and no file. Errors: those of AtomicFile.
Result<std::uint64_t> freeze_recent(const std::filesystem::path& folder, const std::filesystem::path& file);

}  // namespace dslad::worker
