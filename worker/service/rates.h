// Tokens per second of late, from counters that only grow. Time is passed in; pure. One user at a time.
#pragma once

#include <chrono>

#include "schema/reports.h"
#include "worker/engine/engine.h"

namespace dslad::worker {

class Rates {
 public:
  using Clock = std::chrono::steady_clock;

  // True once a window is over and the rates are new.
  bool update(const EngineCounters& counters, Clock::time_point now);
  [[nodiscard]] double prefill_tokens_per_s() const { return prefill_; }
  [[nodiscard]] double decode_tokens_per_s() const { return decode_; }

 private:
  static constexpr std::chrono::seconds kWindow{2};
  EngineCounters before_;
  Clock::time_point since_{};
  double prefill_ = 0, decode_ = 0;
};

// What a heartbeat tells of the engine.
schema::EngineStats stats_of(const Engine& engine, const Rates& rates);

}  // namespace dslad::worker
