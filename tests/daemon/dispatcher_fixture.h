// A dispatcher with a real store that answers at once, a fake clock, and workers played by the test.
#pragma once

#include "daemon/dispatch/dispatcher.h"
#include "tests/daemon/fake.h"
#include "tests/daemon/fixture.h"

namespace dslad::daemon::test {

class DispatcherTest : public testing::Test {
 protected:
  DispatcherTest() { feed_.add(events_); }

  static schema::Hello hello(const std::string& name, const std::string& instance,
                             std::uint32_t capacity = 1) {
    schema::Hello message;
    message.name = name;
    message.instance = instance;
    message.model = "tiny";
    message.model_digest = "d1";
    message.capacity = capacity;
    message.layers = 4;
    return message;
  }

  // A worker whose peer, name and instance are all `name`.
  void connect(const std::string& name, std::uint32_t capacity = 1) {
    dispatcher_.on_hello(name, 1, hello(name, name, capacity));
  }

  schema::JobId submit(const schema::JobRequest& job = summarize()) {
    const schema::Submitted reply = must(enqueue_jobs(db_, {job}, {}, clock_.wall_ms()));
    dispatcher_.jobs_queued();
    return reply.ids.at(0);
  }

  std::vector<schema::Lease> assigned(const std::string& peer) {
    std::vector<schema::Lease> leases;
    for (const schema::Assign& assign : outbox_.take<schema::Assign>(peer)) leases.push_back(assign.lease);
    return leases;
  }

  void beat(const std::string& peer, const std::vector<schema::Lease>& leases) {
    schema::Heartbeat heartbeat;
    for (const schema::Lease& lease : leases) heartbeat.leases.push_back({lease, {}});
    dispatcher_.on_heartbeat(peer, heartbeat);
  }

  // Lets time pass in steps in which the loop would have run.
  void pass(std::int64_t ms) {
    for (std::int64_t step = 0; step < ms; step += 100) {
      clock_.pass(100);
      dispatcher_.tick();
    }
  }

  schema::JobInfo info(schema::JobId id) { return must(read_info(db_, id)); }
  schema::JobState state(schema::JobId id) { return info(id).state; }

  // Plans are set by hand, unless a test sets another policy.
  static policy::Settings by_hand() {
    policy::Settings settings;
    settings.kind = policy::PolicyKind::kManual;
    return settings;
  }

  const DispatchConfig config_{
      .lease_ms = 2'000, .heartbeat_ms = 500, .plan_timeout_ms = 5'000, .policy = by_hand(), .retry = {}};
  TempDir folder_;
  Database db_ = open_database(folder_.path() / "dslad.db");
  InlineExecutor store_{db_};
  FakeClock clock_;
  FakeOutbox outbox_;
  RecordedFeed events_;
  Feed feed_{clock_};
  Dispatcher dispatcher_{config_, clock_, store_, outbox_, feed_};
};

}  // namespace dslad::daemon::test
