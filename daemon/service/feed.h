// Tells whoever listens what happened to jobs, workers and plans: the publisher and the waiting clients.
// Events are told after the commit that made them true. Socket thread only.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/clock.h"
#include "schema/event.h"

namespace dslad::daemon {

// What took how long, or how much: for whoever keeps statistics.
enum class Measured : std::uint8_t {
  kEnqueueS,  // from a submit's arrival to its acknowledgement
  kCommitS,   // of one transaction
  kQueueWaitS,
  kPrefillS,  // of a job that succeeded, as are the next
  kDecodeS,
  kPromptTokens,
  kOutputTokens,
};
struct Measure {
  Measured what;
  double amount;
};

class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void on_event(const schema::Event& event) = 0;
  virtual void on_measure(const Measure&) {}
};

class Feed {
 public:
  explicit Feed(const Clock& clock) : clock_(clock) {}

  void add(EventSink& sink) { sinks_.push_back(&sink); }

  // Numbers and dates the event, then tells every sink.
  void tell(schema::Event event) {
    event.sequence = ++sequence_;
    event.time_ms = clock_.wall_ms();
    for (EventSink* sink : sinks_) sink->on_event(event);
  }

  void measure(Measured what, double amount) {
    for (EventSink* sink : sinks_) sink->on_measure({what, amount});
  }

  void tell_state(schema::JobId job, schema::JobState state, std::optional<Error> error = std::nullopt) {
    schema::Event event;
    event.topic = schema::kTopicJobState;
    event.job = job;
    event.state = state;
    event.error = std::move(error);
    tell(std::move(event));
  }

 private:
  const Clock& clock_;
  std::vector<EventSink*> sinks_;
  std::uint64_t sequence_ = 0;
};

}  // namespace dslad::daemon
