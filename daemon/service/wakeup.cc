#include "daemon/service/wakeup.h"

#include <cerrno>
#include <cstdint>
#include <string>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>

namespace dslad::daemon {
namespace {

Error unavailable(const char* what) {
  return {ErrorCode::kUnavailable, std::string(what) + ": " + std::generic_category().message(errno)};
}

}  // namespace

Result<Wakeup> Wakeup::open() {
  const int event = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (event < 0) return unavailable("eventfd");
  return Wakeup(process::Descriptor(event));
}

// The counter cannot overflow between two clears; a failed write would mean that it is rung already.
void Wakeup::ring(int fd) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(fd, &one, sizeof(one));
}

void Wakeup::clear() const {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t read = ::read(event_.get(), &count, sizeof(count));
}

}  // namespace dslad::daemon
