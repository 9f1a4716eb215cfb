// What the daemon publishes on its events socket: two frames, a topic and an envelope with one Event. Lossy
// by design (PUB): a watcher that falls behind misses events and asks the jobs socket for the truth.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "schema/job.h"
#include "schema/reports.h"

namespace dslad::schema {

// Topics: a subscriber to "job." gets the first two.
inline constexpr const char* kTopicJobState = "job.state";        // job, state, attempt, worker, error
inline constexpr const char* kTopicJobProgress = "job.progress";  // job, attempt, worker, progress
inline constexpr const char* kTopicWorkerUp = "worker.up";        // worker
inline constexpr const char* kTopicWorkerDown = "worker.down";    // worker, reason
inline constexpr const char* kTopicPlan = "plan";                 // worker, plan, change (one event a change)

// Only the members named beside its topic are set.
struct Event {
  static constexpr const char* kKind = "event";
  std::uint64_t sequence = 0;  // counts up by one within a daemon's life; a gap means missed events
  std::int64_t time_ms = 0;
  std::string topic;
  std::optional<JobId> job;
  std::optional<JobState> state;
  std::optional<std::uint32_t> attempt;
  std::optional<Progress> progress;
  std::optional<Error> error;
  std::optional<std::string> worker;
  std::optional<std::string> reason;
  std::optional<std::uint32_t> plan;
  std::optional<LayerChange> change;

  static void fields(auto& self, auto& field) {
    field("sequence", self.sequence);
    field("time_ms", self.time_ms);
    field("topic", self.topic);
    field("job", self.job);
    field("state", self.state);
    field("attempt", self.attempt);
    field("progress", self.progress);
    field("error", self.error);
    field("worker", self.worker);
    field("reason", self.reason);
    field("plan", self.plan);
    field("change", self.change);
  }
};

}  // namespace dslad::schema
