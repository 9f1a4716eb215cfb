// Tells whoever listens what happened to jobs, workers and plans: the publisher and the waiting clients.
// Events are told after the commit that made them true. Socket thread only.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/clock.h"
#include "schema/event.h"

namespace dslad::daemon {

class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void on_event(const schema::Event& event) = 0;
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
