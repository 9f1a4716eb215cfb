// Brings a batch's results to its files as they come, until all are there. Whatever dies meanwhile, the same
// command goes on: what is known of the results is in the files, what is known of the jobs is the daemon's.
//
// The daemon is asked for what ended after the latest end that was seen. The order of ends follows its wall
// clock, which may be set back; so once no job is open, all of the batch's jobs are gone through for lines
// that are missing. Not thread-safe; install an InterruptGuard before.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "ctl/batch_sink.h"
#include "ctl/patient_client.h"
#include "ctl/progress.h"
#include "schema/client_messages.h"

namespace dslad::ctl {

// Bar and time left on a terminal; elsewhere a line now and then.
class BatchProgress {
 public:
  explicit BatchProgress(bool quiet);
  void show(const schema::JobCounts& counts);
  void clear() { block_.erase(); }

 private:
  using Clock = std::chrono::steady_clock;
  std::string time_left(std::uint64_t ended, std::uint64_t total);

  bool quiet_;
  bool live_;
  LiveBlock block_;
  std::deque<std::pair<Clock::time_point, std::uint64_t>> seen_;  // how many had ended when, lately
  std::optional<Clock::time_point> printed_;
};

class BatchFollower {
 public:
  BatchFollower(PatientClient& client, std::string batch, BatchSink& sink, bool quiet)
      : client_(client), batch_(std::move(batch)), sink_(sink), progress_(quiet) {}

  // Writes what has ended since the last call, and brings it to disk.
  Status catch_up();

  // Until every job has ended and has its line, or Ctrl-C: then the counts are those of that moment. Errors:
  // kNotFound where the batch has no jobs.
  Result<schema::JobCounts> run();

 private:
  using Clock = std::chrono::steady_clock;
  Result<schema::JobCounts> count();
  Status begin();
  Status write(const schema::JobInfo& job);
  Status sync_now_and_then();
  Result<bool> fill_gaps();
  Result<bool> step(const schema::JobCounts& counts);  // true: all is done
  void pause();

  PatientClient& client_;
  std::string batch_;
  BatchSink& sink_;
  BatchProgress progress_;
  std::optional<schema::EndedAfter> cursor_;  // absent: nothing is known of the batch's jobs yet
  Clock::time_point synced_ = Clock::now();
};

}  // namespace dslad::ctl
