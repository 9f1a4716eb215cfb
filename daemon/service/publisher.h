// Publishes the feed on ZeroMQ PUB sockets, one for each URL: topic frame, then an envelope with the event.
// Slow watchers lose events; nobody is waited for. Socket thread only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "daemon/net/curve.h"
#include "daemon/net/passed_sockets.h"
#include "daemon/service/feed.h"
#include "schema/result.h"

namespace zmq {
class context_t;
class socket_t;
}  // namespace zmq

namespace dslad::daemon {

class Publisher final : public EventSink {
 public:
  // `urls` and errors: as Doors::bind's.
  static Result<std::unique_ptr<Publisher>> bind(zmq::context_t& context, const std::string& urls,
                                                 const ServerCurve& curve, PassedSockets& passed);
  ~Publisher() override;

  void on_event(const schema::Event& event) override;

 private:
  explicit Publisher(std::vector<zmq::socket_t> sockets);

  std::vector<zmq::socket_t> sockets_;
};

}  // namespace dslad::daemon
