// Publishes the feed on a ZeroMQ PUB socket: topic frame, then an envelope with the event. Slow watchers lose
// events; nobody is waited for. Socket thread only.
#pragma once

#include <memory>
#include <string>

#include "daemon/net/curve.h"
#include "daemon/service/feed.h"
#include "schema/result.h"

namespace zmq {
class context_t;
class socket_t;
}  // namespace zmq

namespace dslad::daemon {

class Publisher final : public EventSink {
 public:
  // Errors as Router::bind.
  static Result<std::unique_ptr<Publisher>> bind(zmq::context_t& context, const std::string& url,
                                                 const ServerCurve& curve = {}, int listener = -1);
  ~Publisher() override;

  void on_event(const schema::Event& event) override;

 private:
  explicit Publisher(std::unique_ptr<zmq::socket_t> socket);

  std::unique_ptr<zmq::socket_t> socket_;
};

}  // namespace dslad::daemon
