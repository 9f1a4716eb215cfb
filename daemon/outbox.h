// Where frames for peers go: a socket in the daemon, a list in tests. Used on the socket thread only.
#pragma once

#include <string>

namespace dslad::daemon {

class Outbox {
 public:
  virtual ~Outbox() = default;
  // `peer` is as the socket named it. False where the peer has gone or takes nothing more; never blocks.
  virtual bool send(const std::string& peer, std::string frame) = 0;
};

}  // namespace dslad::daemon
