// Clients that wait for jobs to end. Pure bookkeeping: told of ends by the feed, of time by take_ready().
// Socket thread only.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "daemon/service/feed.h"
#include "schema/job.h"

namespace dslad::daemon {

// Who asked: the peer and the number of its request.
struct Asker {
  std::string peer;
  std::uint64_t request_id = 0;
};

struct WaitingClient {
  Asker asker;
  std::vector<schema::JobId> ids;  // as asked for
  std::int64_t deadline_ms = 0;    // steady
};

class Waits final : public EventSink {
 public:
  // `open`: those of the ids that have not ended yet; not empty. False where too many wait already.
  bool add(WaitingClient client, const std::set<schema::JobId>& open);

  void on_event(const schema::Event& event) override;

  // Those whose jobs have all ended, or whose time is over; they wait no longer.
  std::vector<WaitingClient> take_ready(std::int64_t now_ms);
  std::vector<WaitingClient> take_all();

  [[nodiscard]] std::size_t size() const { return waiting_.size(); }

 private:
  struct Waiting {
    WaitingClient client;
    std::set<schema::JobId> open;
  };
  WaitingClient take(std::uint64_t token);

  std::map<std::uint64_t, Waiting> waiting_;                           // by token
  std::unordered_map<schema::JobId, std::set<std::uint64_t>> by_job_;  // tokens
  std::set<std::pair<std::int64_t, std::uint64_t>> by_deadline_;       // and token
  std::vector<std::uint64_t> complete_;                                // tokens
  std::size_t open_jobs_ = 0;                                          // of all clients together
  std::uint64_t last_token_ = 0;
};

}  // namespace dslad::daemon
