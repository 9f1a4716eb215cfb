// Where frames for peers go: a socket in the daemon, a list in tests. Used on the socket thread only.
#pragma once

#include <cstddef>
#include <string>

namespace dslad::daemon {

class Outbox {
 public:
  virtual ~Outbox() = default;
  // `peer` is as the socket named it. False where the peer has gone or takes nothing more; never blocks.
  virtual bool send(const std::string& peer, std::string frame) = 0;
  // Whether the peer's connection has ended; what was sent by it may still come in.
  [[nodiscard]] virtual bool gone(const std::string& peer) const = 0;
  // Bytes of frames that were sent to the peer, or to all, and are in memory still: it reads slowly.
  [[nodiscard]] virtual std::size_t unsent(const std::string& peer) const = 0;
  [[nodiscard]] virtual std::size_t unsent() const = 0;
};

}  // namespace dslad::daemon
