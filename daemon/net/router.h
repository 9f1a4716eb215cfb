// A bound ZeroMQ ROUTER: frames of many peers in, frames to each of them out. Never blocks, never throws.
// Socket thread only; `on_sent` is called from libzmq's.
//
// A peer may be a DEALER (one frame a message) or a REQ (an empty frame before it); `peer` remembers which,
// and is otherwise opaque. Frames above the limit make libzmq drop the peer's connection.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/result.h"
#include "daemon/access/identity.h"
#include "daemon/net/curve.h"
#include "daemon/outbox.h"

namespace zmq {
class context_t;
class socket_t;
}  // namespace zmq

namespace dslad::daemon {

struct Received {
  std::string peer;
  std::string frame;  // empty where the message had another shape: no valid frame either
  Identity from;
};

struct RouterLimits {
  std::size_t frame_bytes = 0;
  int frames_in = 0;   // that wait in memory for each peer
  int frames_out = 0;  // likewise
};

class Router final : public Outbox {
 public:
  // `on_sent`: frames that took memory have left. Errors: kInvalidArgument for a malformed URL, kRefused
  // where it is in use, or a key is needed and `curve` has none; kUnavailable for the rest. `listener`: as
  // bind_socket's.
  static Result<std::unique_ptr<Router>> bind(zmq::context_t& context, const std::string& url,
                                              const RouterLimits& limits, std::function<void()> on_sent,
                                              const ServerCurve& curve = {}, int listener = -1);
  ~Router() override;

  std::optional<Received> receive();
  bool send(const std::string& peer, std::string frame) override;
  [[nodiscard]] bool gone(const std::string& peer) const override { return !connections_.contains(peer); }
  [[nodiscard]] std::size_t unsent(const std::string& peer) const override;
  [[nodiscard]] std::size_t unsent() const override;

  // Ends the connections of those that have taken no frame since then although some wait for them. Of others,
  // too long a frame may be on its way.
  void drop_who_does_not_read(std::chrono::steady_clock::time_point since);

  // Peers whose connections have ended since the last call, of those that anything was received from; once
  // more where the end came before the message, which is received all the same.
  std::vector<std::string> take_departed();

  [[nodiscard]] void* handle();  // for zmq_poll

 private:
  struct Sent;
  Router(std::unique_ptr<zmq::socket_t> socket, std::unique_ptr<zmq::socket_t> monitor,
         std::function<void()> on_sent, bool by_key);
  void note_connection(int fd, const std::string& peer);
  void follow_connections();
  void follow(const char* event);
  void depart(int fd);
  void leave(const std::string& peer);
  void forget_who_left();

  std::shared_ptr<Sent> sent_;  // shared with frames under way
  std::unique_ptr<zmq::socket_t> socket_;
  std::unique_ptr<zmq::socket_t> monitor_;            // tells of connections that end
  std::unordered_set<int> open_;                      // connections' descriptors
  std::unordered_map<int, std::string> peers_;        // by these, of those that anything was received from
  std::unordered_map<std::string, int> connections_;  // the inverse
  // Peers that left not long ago, of those whose names nobody has a second time: what they sent may still be
  // read.
  std::unordered_set<std::string> left_;
  std::deque<std::pair<std::chrono::steady_clock::time_point, std::string>> left_at_;
  std::unordered_map<std::string, std::shared_ptr<Sent>> unsent_;
  std::vector<std::string> departed_;
  const bool by_key_;  // peers are known by keys, not by the kernel
};

}  // namespace dslad::daemon
