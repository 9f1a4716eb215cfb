// Leases from their claim to their end: hands jobs to their workers, renews what heartbeats name, brings
// results home, and ends what is lost, given back or no longer wanted. Who gets which job is decided
// elsewhere; here is the one place where leases come to a worker's record and leave it. Reruns
// (store/reruns.h) are nobody's news: the Feed hears nothing of them. Socket thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "daemon/dispatch/planner.h"
#include "daemon/dispatch/surroundings.h"
#include "daemon/service/limited_warning.h"
#include "daemon/store/job_reads.h"
#include "daemon/store/job_writes.h"
#include "daemon/store/leases.h"

namespace dslad::daemon {

class OpenLeases {
 public:
  struct Listener {
    std::function<void()> queued;  // a user's job waits again
    std::function<void()> room;    // a worker may take another job
  };

  OpenLeases(const Surroundings& around, Planner& planner, std::uint32_t lease_ms, const RetryRules& retry,
             Listener listener);

  // From the next attempt that fails on.
  void set_retry(const RetryRules& retry) { retry_ = retry; }

  // Leases from before a restart: their workers have the time of a lease to come back and keep them.
  void expect_back(const std::vector<StoredLease>& held);
  // Sends a job that was claimed for the worker; the lease ends where that cannot be. Whether it was sent.
  bool hand_over(const std::string& instance, Claimed claimed);
  // Sends a job again that the worker should have and does not name.
  void hand_over_again(const schema::Lease& lease, const std::string& instance);
  void renew(HeldJob& held) const { held.deadline_ms = next_end(); }

  // The worker has begun these, which it holds.
  void begun(WorkerState& worker, const std::vector<schema::Lease>& leases);
  void on_result(WorkerState& worker, schema::WorkerResult result);
  // The worker, no longer in the table, has left; `broke`: not in order, and one of its jobs may be the
  // reason.
  void worker_left(const WorkerState& worker, bool broke, const std::string& why);
  // Takes the lease from the worker, which is told to stop.
  void take_back(WorkerState& worker, const schema::Lease& lease, const std::string& why);
  // The same where the worker has nothing to stop.
  void give_back(WorkerState& worker, const schema::Lease& lease, const std::string& why);
  // Ends what was not renewed in time.
  void end_overdue();
  // Jobs were cancelled or have expired: tells their workers, and the feed.
  void jobs_ended(const std::vector<Ended>& ended, schema::JobState state);
  // Of the store's claims: jobs that have failed there, and one that is to fail.
  void unreadable(const std::vector<Unreadable>& jobs);
  void fail_damaged(const Unreadable& damaged);

  // Counts the ends that may have made another rerun wanted.
  [[nodiscard]] std::uint64_t ends() const { return ends_; }

 private:
  void end(const schema::Lease& lease, LeaseEnd end, const std::string& why);
  [[nodiscard]] std::int64_t next_end() const { return around_.clock.steady_ms() + lease_ms_; }
  [[nodiscard]] static LeaseEnd blame(const WorkerState& worker, const HeldJob& job);
  // Whether a worker that is connected could run what was too large for this one on its plan; what forbids
  // that becomes part of the error.
  [[nodiscard]] Refusal refused(const WorkerState& worker, const QueuedJob& job,
                                schema::WorkerResult& result) const;
  void stored(const schema::Lease& lease, const std::string& instance, const Result<Outcome>& outcome);
  void ended(const schema::Lease& lease, const Result<Outcome>& outcome);
  // That the worker has the job: queued until it begins.
  void tell(const schema::Lease& lease, schema::JobState state, const std::string& worker);

  const Surroundings around_;
  Planner& planner_;
  const std::uint32_t lease_ms_;
  RetryRules retry_;
  const Listener listener_;
  std::uint64_t ends_ = 1;
  LimitedWarning not_failed_;
};

}  // namespace dslad::daemon
