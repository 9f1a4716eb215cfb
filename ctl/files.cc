#include "ctl/files.h"

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include "ctl/format.h"

namespace dslad::ctl {

std::string file_name(const std::string& path) {
  return fmt::format("'{}'", one_line(path));
}

Status write_all(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(descriptor, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return Error{ErrorCode::kInternal, std::generic_category().message(errno)};
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return ok_status();
}

bool is_named(int descriptor, const std::string& path) {
  struct stat open_file {
  }, named{};
  return ::fstat(descriptor, &open_file) == 0 && ::stat(path.c_str(), &named) == 0 &&
         open_file.st_ino == named.st_ino && open_file.st_dev == named.st_dev;
}

Status sync_folder_of(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const int descriptor = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && ::fsync(descriptor) == 0;
  const int error = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (synced) return ok_status();
  return invalid_argument(fmt::format("cannot bring the folder of {} to disk: {}", file_name(path),
                                      std::generic_category().message(error)));
}

}  // namespace dslad::ctl
