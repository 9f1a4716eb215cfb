#include "ctl/backup_file.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/file.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "ctl/files.h"

namespace dslad::ctl {
namespace {

Error exists(const std::string& path) {
  return invalid_argument(
      fmt::format("{} is there already; choose another name, or replace it with --force", file_name(path)));
}

// Of file systems that cannot rename without replacing: as near as they come.
int rename_to_free_name(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  std::error_code code;
  if (std::filesystem::exists(std::filesystem::symlink_status(to, code))) return EEXIST;
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

}  // namespace

BackupFile::BackupFile(BackupFile&& other) noexcept
    : path_(std::move(other.path_)),
      replace_(other.replace_),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

BackupFile::~BackupFile() {
  if (descriptor_ < 0) return;
  ::unlink(part().c_str());
  ::close(descriptor_);
}

Error BackupFile::failed(std::string_view what, int error) const {
  return invalid_argument(
      fmt::format("cannot {} {}: {}", what, file_name(part()), std::generic_category().message(error)));
}

// A part that an interrupted backup left is written over; one that is being written is locked.
Result<BackupFile> BackupFile::open(const std::string& path, bool replace) {
  BackupFile file(path, replace);
  std::error_code code;
  const std::filesystem::file_status there = std::filesystem::symlink_status(path, code);
  if (std::filesystem::is_directory(there))
    return invalid_argument(fmt::format("{} is a folder; name a file in it", file_name(path)));
  if (std::filesystem::exists(there) && !replace) return exists(path);
  const int descriptor = ::open(file.part().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (descriptor < 0) return file.failed("write", errno);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0 || !is_named(descriptor, file.part())) {
    ::close(descriptor);
    return invalid_argument(fmt::format("another dslactl writes {} already", file_name(file.part())));
  }
  file.descriptor_ = descriptor;
  if (::ftruncate(descriptor, 0) != 0) return file.failed("write", errno);
  return file;
}

Status BackupFile::append(std::string_view bytes) {
  const Status written = write_all(descriptor_, bytes);
  if (written) return written;
  return invalid_argument(fmt::format("cannot write {}: {}; make room or choose another disk",
                                      file_name(part()), written.error().message));
}

Status BackupFile::publish() {
  if (::fsync(descriptor_) != 0) return failed("bring to disk", errno);
  const int error = replace_ ? (::rename(part().c_str(), path_.c_str()) == 0 ? 0 : errno)
                             : rename_to_free_name(part(), path_);
  if (error == EEXIST) return exists(path_);
  if (error != 0) return failed("rename", error);
  ::close(std::exchange(descriptor_, -1));
  return sync_folder_of(path_);
}

}  // namespace dslad::ctl
