// What the database says about jobs. Read-only; runs inside the caller's transaction. Progress of running
// jobs is not stored: the dispatcher knows it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/store/leases.h"
#include "daemon/store/scope.h"
#include "daemon/store/sqlite.h"
#include "schema/client_messages.h"
#include "schema/limits.h"
#include "schema/policy_messages.h"

namespace dslad::daemon {

// kNotFound for an id that was never given to a user's job, or to none within the scope. A rerun is read with
// the job that it repeats.
Result<schema::JobInfo> read_info(Database& db, schema::JobId id, const Scope& scope = {});
Result<std::vector<schema::JobInfo>> read_infos(Database& db, const std::vector<schema::JobId>& ids,
                                                const Scope& scope = {});
Result<schema::JobSpec> read_spec(Database& db, schema::JobId id);
// One page: outputs from the `from`-th on, the rerun's after the job's own, until they take more than
// `page_bytes`.
Result<schema::JobResult> read_result(Database& db, schema::JobId id, std::uint32_t from = 0,
                                      std::size_t page_bytes = schema::kPageBytes, const Scope& scope = {});

// Which plan the job has or had, and why, as far as it is stored: nothing of one that was never leased.
Result<schema::JobVerdict> read_verdict(Database& db, schema::JobId id, const Scope& scope = {});

// What a job was and what it cost, of the latest that succeeded on this edition of a model's chain; the
// latest first.
struct WorkDone {
  std::string worker;  // its label
  QueuedJob job;       // its sizes alone
  schema::JobMetrics metrics;
};
Result<std::vector<WorkDone>> latest_work(Database& db, const std::string& model_digest,
                                          const std::string& edition, std::uint32_t limit);

Result<schema::JobList> list_jobs(Database& db, const schema::ListJobs& request, const Scope& scope = {});
Result<std::uint64_t> count_delayed(Database& db);                      // queued jobs that wait for a time
Result<std::map<std::string, std::uint64_t>> count_jobs(Database& db);  // by state
Result<schema::JobCounts> count_jobs(Database& db, const schema::CountJobs& request, const Scope& scope = {});

// A lease that the database holds open, e.g. from before a restart.
struct StoredLease {
  schema::Lease lease;
  WorkerName worker;
  bool rerun = false;
  bool suspect = false;                    // it runs alone
  bool begun = false;                      // else it waits at its worker
  std::optional<std::uint32_t> plan = {};  // that it was given; absent: the one in force
  double min_quality = 0;                  // of the job's own terms
};
Result<std::vector<StoredLease>> stored_leases(Database& db);

// Of each client of each owner, by its turn_key(), the latest turn of its jobs that wait without a deadline.
Result<std::map<std::string, std::int64_t>> latest_turns(Database& db);

}  // namespace dslad::daemon
