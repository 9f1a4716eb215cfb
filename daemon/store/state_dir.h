// The daemon's folder, held by one process at a time: an exclusive lock on STATE_DIR/dslad.lock, released by
// the kernel however the process ends. Holds dslad.db, and a copy of it while a client fetches a backup.
#pragma once

#include <filesystem>
#include <utility>

#include "base/result.h"

namespace dslad::daemon {

class StateDir {
 public:
  // Makes the folder where it is missing (mode 0750: results are the users' documents).
  // Errors: kRefused where another process holds it, kUnavailable where it cannot be made or written.
  static Result<StateDir> open(const std::filesystem::path& path);
  ~StateDir();
  StateDir(StateDir&& other) noexcept
      : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}
  StateDir& operator=(StateDir&&) = delete;

  [[nodiscard]] std::filesystem::path database() const { return path_ / "dslad.db"; }
  [[nodiscard]] std::filesystem::path copy() const { return path_ / "backup.db"; }

 private:
  StateDir(std::filesystem::path path, int lock) : path_(std::move(path)), lock_(lock) {}

  std::filesystem::path path_;
  int lock_;  // descriptor of the lock file, -1 once moved from
};

}  // namespace dslad::daemon
