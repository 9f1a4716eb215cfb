// A folder that one process at a time works in, told apart by flock on the folder itself: no file is left
// behind, and the system lets go of it however the process ends. Movable; one owner.
#pragma once

#include <filesystem>

#include "base/result.h"

namespace dslad::worker {

class FolderLock {
 public:
  // Makes the folder where there is none. kRefused, at once: another process holds it. kUnavailable: it
  // cannot be made or opened. Where the file system has no locks nobody is refused.
  static Result<FolderLock> take(const std::filesystem::path& folder);

  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&&) = delete;
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock();

 private:
  explicit FolderLock(int descriptor) : descriptor_(descriptor) {}

  int descriptor_;  // -1: moved from
};

}  // namespace dslad::worker
