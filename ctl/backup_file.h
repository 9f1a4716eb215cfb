// The file that a backup is fetched into: FILE.part until it is whole and on disk, then FILE. What is not
// published goes when this goes. Readable by its owner alone: it holds everybody's documents.
// Not thread-safe. Errors: kInvalidArgument, with file and remedy.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace dslad::ctl {

class BackupFile {
 public:
  // Where something is at `path` already, it is refused unless `replace`.
  static Result<BackupFile> open(const std::string& path, bool replace);
  BackupFile(BackupFile&& other) noexcept;
  BackupFile& operator=(BackupFile&&) = delete;
  ~BackupFile();

  Status append(std::string_view bytes);

  // All that was appended is on disk under `path` when it returns.
  Status publish();

 private:
  BackupFile(std::string path, bool replace) : path_(std::move(path)), replace_(replace) {}
  [[nodiscard]] std::string part() const { return path_ + ".part"; }
  [[nodiscard]] Error failed(std::string_view what, int error) const;

  std::string path_;
  bool replace_;
  int descriptor_ = -1;  // of the part; -1 once it is published or moved from
};

}  // namespace dslad::ctl
