// A bound ZeroMQ ROUTER: frames of many peers in, frames to each of them out. Never blocks, never throws.
// Socket thread only.
//
// A peer may be a DEALER (one frame a message) or a REQ (an empty frame before it); `peer` remembers which,
// and is otherwise opaque. Frames above the limit make libzmq drop the peer's connection.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "daemon/outbox.h"
#include "schema/result.h"

namespace zmq {
class context_t;
class socket_t;
}  // namespace zmq

namespace dslad::daemon {

struct Received {
  std::string peer;
  std::string frame;  // empty where the message had another shape: no valid frame either
};

class Router final : public Outbox {
 public:
  // `frames_in` and `frames_out` bound what waits in memory for each peer.
  // Errors: kInvalidArgument for a malformed URL, kRefused where it is in use, kUnavailable for the rest.
  static Result<std::unique_ptr<Router>> bind(zmq::context_t& context, const std::string& url,
                                              std::size_t max_bytes, int frames_in, int frames_out);
  ~Router() override;

  std::optional<Received> receive();
  bool send(const std::string& peer, std::string frame) override;

  [[nodiscard]] void* handle();  // for zmq_poll

 private:
  explicit Router(std::unique_ptr<zmq::socket_t> socket);

  std::unique_ptr<zmq::socket_t> socket_;
};

}  // namespace dslad::daemon
