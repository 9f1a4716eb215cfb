// Whose turn it is among clients. A job without a deadline has its turn when it came; but each further job of
// a client has it later by the work of those before, so that a client with one job is not behind another's
// ten thousand. Alone a client is as fast as ever: turns say who is first, not when.
//
// Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996) with equal weights; turns are wall milliseconds,
// ahead of the clock by what was served in advance. Pure. Socket thread only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>

namespace dslad::daemon {

class Turns {
 public:
  // Turns that were given before a restart: the latest of each client that still waits.
  void restore(const std::map<std::string, std::int64_t>& latest_ms);

  // The turn of a client's job that comes now; `work_ms` is the job's own. At least `now_ms`, and never
  // before an earlier job of the same client.
  std::int64_t next(const std::string& client, double work_ms, std::int64_t now_ms);

  // Work that was given a turn and was not taken after all.
  void give_back(const std::string& client, double work_ms);

  // A job of this turn begins: whoever comes now has no earlier one.
  void served(std::int64_t turn_ms);

  // The clock has jumped, and the turns of all that wait with it.
  void shift(std::int64_t by_ms);

 private:
  std::unordered_map<std::string, double> next_ms_;  // by client; those of clients long served are dropped
  double served_ms_ = 0;                             // the latest turn that began
};

}  // namespace dslad::daemon
