#include "worker/files/atomic_file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace dslad::worker {
namespace {

Error system_error(const std::filesystem::path& path, std::string_view what, int error) {
  ErrorCode code = ErrorCode::kUnavailable;
  if (error == ENOENT) code = ErrorCode::kNotFound;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) code = ErrorCode::kResourceExhausted;
  return {code, fmt::format("{}: cannot {}: {}", path.string(), what, std::strerror(error))};
}

// A rename is durable once its folder is.
Status sync_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && fsync(descriptor) == 0;
  const int error = errno;
  if (descriptor >= 0) close(descriptor);
  if (!synced) return system_error(folder, "sync the folder", error);
  return ok_status();
}

bool is_named(int descriptor, const std::filesystem::path& path) {
  struct stat opened = {};
  struct stat named = {};
  return fstat(descriptor, &opened) == 0 && stat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

// The file, made where there is none, once nobody else holds it; -1 with errno. While one waits for it the
// other writer renames or removes it: then the name belongs to nobody, or already to a third. Where the file
// system has no locks nobody waits.
int open_alone(const std::filesystem::path& path, mode_t mode) {
  while (true) {
    const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, mode);
    if (descriptor < 0) return -1;
    while (flock(descriptor, LOCK_EX) != 0 && errno == EINTR) {
    }
    if (is_named(descriptor, path)) return descriptor;
    close(descriptor);
  }
}

}  // namespace

Result<AtomicFile> AtomicFile::create(const std::filesystem::path& path, mode_t mode) {
  AtomicFile file(path, -1);
  file.descriptor_ = open_alone(file.temporary_, mode);
  if (file.descriptor_ < 0 || ftruncate(file.descriptor_, 0) != 0) return file.failed("create the file");
  return file;
}

AtomicFile::AtomicFile(std::filesystem::path path, int descriptor)
    : path_(std::move(path)), temporary_(path_), descriptor_(descriptor) {
  temporary_ += ".tmp";
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  unlink(temporary_.c_str());  // as long as it is locked, so ours
  close(descriptor_);
}

Error AtomicFile::failed(std::string_view what) const {
  return system_error(path_, what, errno);
}

Status AtomicFile::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failed("write");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return ok_status();
}

Status AtomicFile::commit() {
  if (fsync(descriptor_) != 0) return failed("write");
  if (rename(temporary_.c_str(), path_.c_str()) != 0) return failed("put the file in its place");
  close(std::exchange(descriptor_, -1));
  return sync_folder(path_.has_parent_path() ? path_.parent_path() : ".");
}

Status write_file(const std::filesystem::path& path, std::string_view content) {
  auto file = AtomicFile::create(path);
  if (!file) return file.error();
  const Status written = file->append(std::as_bytes(std::span(content)));
  return written ? file->commit() : written;
}

}  // namespace dslad::worker
