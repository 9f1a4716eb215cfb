#include "daemon/store/state_dir.h"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace dslad::daemon {
namespace {

Error unavailable(const std::filesystem::path& path, std::string_view doing, int code) {
  return {ErrorCode::kUnavailable, fmt::format("{} {}: {}; choose another folder with --state-dir", doing,
                                               path.string(), std::generic_category().message(code))};
}

Status make_folder(const std::filesystem::path& path) {
  std::error_code code;
  const bool made = std::filesystem::create_directories(path, code);
  if (code) return unavailable(path, "cannot make", code.value());
  if (made && ::chmod(path.c_str(), 0750) != 0) return unavailable(path, "cannot protect", errno);
  return ok_status();
}

// Who holds the lock writes its pid into it, for the one who does not get it.
void leave_pid(int lock) {
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(lock, 0) != 0 || ::pwrite(lock, pid.data(), pid.size(), 0) < 0) return;  // only a courtesy
}

std::string holder(int lock) {
  char text[32] = {};
  const ssize_t size = ::pread(lock, text, sizeof(text) - 1, 0);
  if (size <= 0) return "another process";
  std::string pid(text, static_cast<std::size_t>(size));
  while (!pid.empty() && pid.back() == '\n') pid.pop_back();
  return "process " + pid;
}

}  // namespace

Result<StateDir> StateDir::open(const std::filesystem::path& path) {
  if (Status status = make_folder(path); !status) return status.error();
  const std::filesystem::path file = path / "dslad.lock";
  const int lock = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
  if (lock < 0) return unavailable(file, "cannot open", errno);
  StateDir folder(path, lock);
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return unavailable(file, "cannot lock", errno);
    return Error{ErrorCode::kRefused,
                 fmt::format("{} is in use by {}; stop it, or choose another folder with "
                             "--state-dir",
                             path.string(), holder(lock))};
  }
  leave_pid(lock);
  return folder;
}

StateDir::~StateDir() {
  if (lock_ >= 0) ::close(lock_);
}

}  // namespace dslad::daemon
