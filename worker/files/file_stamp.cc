#include "worker/files/file_stamp.h"

#include <sys/stat.h>

namespace dslad::worker {

std::optional<FileStamp> FileStamp::of(const std::filesystem::path& path) {
  struct stat found {};
  if (stat(path.c_str(), &found) != 0) return std::nullopt;
  return FileStamp{std::int64_t{found.st_mtim.tv_sec} * 1'000'000'000 + found.st_mtim.tv_nsec, found.st_size,
                   found.st_ino};
}

}  // namespace dslad::worker
