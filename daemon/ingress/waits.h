// Clients that wait for jobs to end. Pure bookkeeping: told of ends by the feed, of time by take_ready(), of
// clients that have gone by forget(). Socket thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "daemon/access/identity.h"
#include "daemon/service/feed.h"
#include "daemon/store/scope.h"
#include "schema/job.h"

namespace dslad::daemon {

// Who asked: the peer and the number of its request.
struct Asker {
  std::string peer;
  std::uint64_t request_id = 0;
  bool weighed = false;  // its place in the flow is given back with the reply
  Identity from = {};
  // As of when the request began: as whom it owns jobs, and whose jobs it is about.
  std::string owner = {};
  Scope scope = {};
  // The request from its beginning, where it is weighed: one that only reads may be put back.
  std::shared_ptr<const std::function<void(const Asker&)>> again = {};
};

struct WaitingClient {
  Asker asker;
  std::vector<schema::JobId> ids;  // as asked for
  std::int64_t deadline_ms = 0;    // steady
};

struct WaitLimits {
  std::size_t waits = 20'000;
  std::size_t jobs = 250'000;  // waited for by all clients together: some dozen MiB
};

class Waits final : public EventSink {
 public:
  explicit Waits(const WaitLimits& limits = {}) : limits_(limits) {}

  // `open`: those of the ids that have not ended yet; not empty. Where there is no room, waits of the client
  // that has most make room for those of one that has fewer: they are in `displaced` and wait no longer.
  struct Added {
    bool taken = false;
    std::vector<WaitingClient> displaced;
  };
  Added add(WaitingClient client, const std::set<schema::JobId>& open);

  void on_event(const schema::Event& event) override;

  // Those whose jobs have all ended, or whose time is over; they wait no longer.
  std::vector<WaitingClient> take_ready(std::int64_t now_ms);
  std::vector<WaitingClient> take_all();

  // The peer waits for nothing any more.
  void forget(const std::string& peer);

  [[nodiscard]] std::size_t size() const { return waiting_.size(); }

 private:
  struct Waiting {
    WaitingClient client;
    std::set<schema::JobId> open;
  };
  struct Peer {
    std::set<std::uint64_t> tokens;
    std::size_t open_jobs = 0;
    [[nodiscard]] std::size_t weight() const { return tokens.size() + open_jobs; }
  };
  WaitingClient take(std::uint64_t token);
  [[nodiscard]] bool has_room(std::size_t jobs) const {
    return waiting_.size() < limits_.waits && open_jobs_ + jobs <= limits_.jobs;
  }

  const WaitLimits limits_;
  std::map<std::uint64_t, Waiting> waiting_;                           // by token
  std::unordered_map<schema::JobId, std::set<std::uint64_t>> by_job_;  // tokens
  std::unordered_map<std::string, Peer> by_peer_;
  std::set<std::pair<std::int64_t, std::uint64_t>> by_deadline_;  // and token
  std::vector<std::uint64_t> complete_;                           // tokens
  std::size_t open_jobs_ = 0;                                     // of all clients together
  std::uint64_t last_token_ = 0;
};

}  // namespace dslad::daemon
