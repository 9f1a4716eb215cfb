// One DEALER socket to the daemon's jobs socket: frames out, frames in, with a deadline. Wraps ZeroMQ, whose
// exceptions end here. Not thread-safe.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/result.h"
#include "schema/keys/client_keys.h"

namespace dslad::ctl {

using Deadline = std::chrono::steady_clock::time_point;

class Connection {
 public:
  static constexpr std::chrono::milliseconds kStartUp{1000};  // until a started daemon listens

  // A local socket that nobody listens on is found out within `start_up`; a remote peer only by its silence.
  // Errors: kInvalidArgument for a URL that is none, or tcp without keys; kUnavailable where nobody listens.
  static Result<Connection> open(const std::string& url, const keys::KeyFiles& files,
                                 std::chrono::milliseconds start_up = kStartUp);

  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;
  ~Connection();

  Status send(const std::string& frame);

  // The next frame; kUnavailable once `deadline` has passed or Ctrl-C was pressed (see interrupt.h), kRefused
  // as soon as the daemon refuses the key.
  Result<std::string> receive(Deadline deadline);

  [[nodiscard]] const std::string& url() const;

 private:
  struct Socket;
  explicit Connection(std::unique_ptr<Socket> socket);
  std::unique_ptr<Socket> socket_;
};

}  // namespace dslad::ctl
