#include "daemon/service/wakeup.h"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <pthread.h>
#include <string>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <system_error>
#include <unistd.h>

namespace dslad::daemon {
namespace {

Error unavailable(const char* what) {
  return {ErrorCode::kUnavailable, std::string(what) + ": " + std::generic_category().message(errno)};
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Result<Wakeup> Wakeup::open() {
  const int event = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (event < 0) return unavailable("eventfd");
  return Wakeup(Descriptor(event));
}

// The counter cannot overflow between two clears; a failed write would mean that it is rung already.
void Wakeup::ring() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof(one));
}

void Wakeup::clear() const {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t read = ::read(event_.get(), &count, sizeof(count));
}

Result<StopSignals> StopSignals::open() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  if (::pthread_sigmask(SIG_BLOCK, &signals, nullptr) != 0) return unavailable("pthread_sigmask");
  const int fd = ::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
  if (fd < 0) return unavailable("signalfd");
  return StopSignals(Descriptor(fd));
}

int StopSignals::take() const {
  signalfd_siginfo info{};
  if (::read(signals_.get(), &info, sizeof(info)) != sizeof(info)) return 0;
  return static_cast<int>(info.ssi_signo);
}

}  // namespace dslad::daemon
