// Answers ZeroMQ's question, in each handshake on tcp, whether the owner of a key may connect (ZAP, RFC 27).
// The key itself becomes the connection's User-Id, so that each message says by whose key it came. Socket
// thread only; there is one for a context, opened before the sockets that need it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace zmq {
class context_t;
class socket_t;
}  // namespace zmq

namespace dslad::daemon {

struct ZapQuestion {
  std::string domain;
  std::string address;  // of the peer, for the log
  std::string key;      // public, Z85; the handshake has proved that the peer has the secret one
};

class Zap {
 public:
  static Result<std::unique_ptr<Zap>> open(zmq::context_t& context);
  ~Zap();

  // Answers what was asked since the last call.
  void answer(const std::function<bool(const ZapQuestion&)>& lets_in);

  [[nodiscard]] void* handle();  // for zmq_poll

 private:
  explicit Zap(std::unique_ptr<zmq::socket_t> socket);
  std::unique_ptr<zmq::socket_t> socket_;
};

}  // namespace dslad::daemon
