// A file that appears whole or not at all: written under a temporary name beside its place, then renamed.
//
// Until commit() the old file stays as it is; whoever reads the path sees the old content or the new one,
// also after a crash at any moment. The temporary name is the file's with ".tmp" behind it: what a killed
// process leaves there is overwritten by the next one. Errors name the path; a full disk says so
// (kResourceExhausted). Movable; one user at a time.
//
// One writer of a path at a time: from create() to commit() the temporary file is locked (flock), and other
// writers, of other processes too, wait in create(). What is read of the path meanwhile is thus what gets
// replaced.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <sys/types.h>

#include "base/result.h"

namespace dslad::worker {

class AtomicFile {
 public:
  // `mode`: of the file, less the umask. Errors: kNotFound when the folder is missing; kResourceExhausted;
  // kUnavailable.
  // REQUIRES: this thread writes no other AtomicFile of the same path, which it would wait for.
  static Result<AtomicFile> create(const std::filesystem::path& path, mode_t mode = 0666);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  // Removes what was not committed.
  ~AtomicFile();

  Status append(std::span<const std::byte> bytes);
  // Puts the file in its place, durably: the content, then the name, are on disk when this returns.
  // REQUIRES: called once, last.
  Status commit();

 private:
  AtomicFile(std::filesystem::path path, int descriptor);
  [[nodiscard]] Error failed(std::string_view what) const;  // of errno

  std::filesystem::path path_, temporary_;
  int descriptor_;  // -1: committed or moved from
};

// The whole content at once. Errors: as above.
Status write_file(const std::filesystem::path& path, std::string_view content);

}  // namespace dslad::worker
