// Which state of a file a path led to: enough to notice cheaply that it was written or replaced.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace dslad::worker {

struct FileStamp {
  std::int64_t modified_ns = 0;
  std::int64_t bytes = 0;
  std::uint64_t inode = 0;

  // Nothing where there is no file, or none that can be looked at.
  static std::optional<FileStamp> of(const std::filesystem::path& path);
  bool operator==(const FileStamp&) const = default;
};

}  // namespace dslad::worker
