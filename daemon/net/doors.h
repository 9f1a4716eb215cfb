// One kind of peer, served at several URLs at once: users of this machine at a local socket, say, and others
// over tcp by their keys. What Router says of threads, peers and frames holds here; a peer's name begins with
// its door.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/net/passed_sockets.h"
#include "daemon/net/router.h"

namespace dslad::daemon {

class Doors final : public Outbox {
 public:
  // `urls`: as schema::split_urls reads them. Errors: Router::bind's; kInvalidArgument where there is none,
  // or more than 16.
  static Result<std::unique_ptr<Doors>> bind(zmq::context_t& context, const std::string& urls,
                                             const RouterLimits& limits, const std::function<void()>& on_sent,
                                             const ServerCurve& curve, PassedSockets& passed);

  std::optional<Received> receive();  // the doors take turns
  bool send(const std::string& peer, std::string frame) override;
  [[nodiscard]] bool gone(const std::string& peer) const override;
  [[nodiscard]] std::size_t unsent(const std::string& peer) const override;
  [[nodiscard]] std::size_t unsent() const override;
  void drop_who_does_not_read(std::chrono::steady_clock::time_point since);
  std::vector<std::string> take_departed();

  [[nodiscard]] std::vector<void*> handles();  // for zmq_poll

 private:
  explicit Doors(std::vector<std::unique_ptr<Router>> doors) : doors_(std::move(doors)) {}
  [[nodiscard]] Router& door_of(const std::string& peer) const;

  std::vector<std::unique_ptr<Router>> doors_;
  std::size_t next_ = 0;  // whose turn it is
};

}  // namespace dslad::daemon
