// Publishes the feed on ZeroMQ PUB sockets, one for each URL: topic frame, then an envelope with the event.
// Slow watchers lose events; nobody is waited for. Who watches is asked for once, when it connects. Socket
// thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/net/curve.h"
#include "daemon/net/passed_sockets.h"
#include "daemon/service/feed.h"

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

  // Ends the connections that keys opened, and listens again: whoever still has a key connects anew.
  void let_in_anew();
  // Listens where it does not yet: the old socket's port may be taken for a moment. `now_ms`: steady.
  void tick(std::int64_t now_ms);

 private:
  struct Door;
  Publisher(zmq::context_t& context, ServerCurve curve);
  Status open(Door& door, int listener);

  zmq::context_t& context_;
  ServerCurve curve_;
  std::vector<Door> doors_;
};

}  // namespace dslad::daemon
