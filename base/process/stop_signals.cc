#include "base/process/stop_signals.h"

#include <cerrno>
#include <csignal>
#include <pthread.h>
#include <string>
#include <sys/signalfd.h>
#include <system_error>
#include <unistd.h>

namespace dslad::process {
namespace {

Error unavailable(const char* what, int number) {
  return {ErrorCode::kUnavailable, std::string(what) + ": " + std::generic_category().message(number)};
}

}  // namespace

Result<StopSignals> StopSignals::open(std::initializer_list<int> others) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  for (const int other : others) sigaddset(&signals, other);
  if (const int failed = ::pthread_sigmask(SIG_BLOCK, &signals, nullptr); failed != 0)
    return unavailable("pthread_sigmask", failed);
  const int fd = ::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
  if (fd < 0) return unavailable("signalfd", errno);
  return StopSignals(Descriptor(fd));
}

int StopSignals::take() const {
  signalfd_siginfo info{};
  if (::read(signals_.get(), &info, sizeof(info)) != sizeof(info)) return 0;
  return static_cast<int>(info.ssi_signo);
}

}  // namespace dslad::process
