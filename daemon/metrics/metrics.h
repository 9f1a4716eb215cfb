// What the daemon does, for Prometheus: counters and histograms that grow as things happen, and gauges that
// the loop sets once a second. Served over HTTP at /metrics by a thread of its own; names in
// docs/monitoring.md.
//
// Thread safety: everything is called from the socket thread; scrapes come from others and see whole
// snapshots.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/service/feed.h"
#include "schema/reports.h"

namespace dslad::daemon {

// What is so at one moment.
struct MetricsSnapshot {
  std::map<std::string, std::uint64_t> jobs;      // by state
  std::map<std::string, std::uint64_t> counters;  // of `stats`
  std::vector<schema::WorkerInfo> workers;
  std::uint32_t policy_plan = 0;  // the largest that a job is given now
  double drain_s = 0;             // until what waits and runs is expected to be done; 0: nothing is known
  double uptime_s = 0;
};

class Metrics final : public EventSink {
 public:
  // Listens at ADDRESS:PORT. Errors: kUnavailable where that cannot be done.
  static Result<std::unique_ptr<Metrics>> open(const std::string& address);
  ~Metrics() override;

  void on_event(const schema::Event& event) override;
  void on_measure(const Measure& measure) override;
  void update(MetricsSnapshot snapshot);

 private:
  class Snapshots;
  struct Parts;
  explicit Metrics(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace dslad::daemon
