// The daemon put together: opens the store and the sockets, then runs the one loop that owns the sockets. The
// database has its own thread (store/writer.h).
#pragma once

#include <functional>
#include <memory>

#include "base/result.h"
#include "daemon/config.h"

namespace dslad::daemon {

// Reads the configuration anew: onto the defaults, as at the start.
using Reread = std::function<ConfigErrors(Config&)>;

class Daemon {
 public:
  // Everything that can fail at the start. Errors: kRefused where the state folder or a socket is in use;
  // those of the store and the sockets. REQUIRES: no other thread runs yet (it blocks signals for all).
  static Result<std::unique_ptr<Daemon>> open(const Config& config, Reread reread);
  ~Daemon();

  // Serves until SIGTERM or SIGINT; SIGHUP reads the configuration anew. Then finishes what was posted to the
  // store and returns.
  Status run();

 private:
  struct Parts;
  explicit Daemon(std::unique_ptr<Parts> parts);

  void turn();  // one round of the loop
  void let_in();
  void receive();
  void measure();
  void on_signal(int signal);
  void reload();
  [[nodiscard]] bool database_moves() const;
  void drain();

  std::unique_ptr<Parts> parts_;
};

}  // namespace dslad::daemon
