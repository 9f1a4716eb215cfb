// Sockets that a service manager listens on and hands to the daemon (systemd's socket activation): clients
// are held by the kernel while dslad starts, and the files' owners and modes are the manager's. Not
// thread-safe; take them before other threads run.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace dslad::daemon {

class PassedSockets {
 public:
  // Those of this process, by LISTEN_FDS and LISTEN_PID, which are unset. Without them: none.
  static PassedSockets take();

  // The descriptor that listens at this ipc URL, -1 where none was passed. It is the caller's from then on.
  int claim(const std::string& url);

  // kRefused where one is left that no URL names: clients would wait there for ever.
  [[nodiscard]] Status all_claimed() const;

 private:
  struct Passed {
    int fd = -1;
    std::string path;  // empty: not a listening local stream socket
  };
  std::vector<Passed> passed_;
};

}  // namespace dslad::daemon
