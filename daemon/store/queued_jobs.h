// Jobs that wait, as whoever chooses among them sees them: their sizes and terms, not their texts. Runs
// inside the caller's transaction. Times are milliseconds since the epoch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/store/sqlite.h"
#include "schema/job.h"

namespace dslad::daemon {

// Who shares the queue with whom: clients take turns, and nobody takes a turn in the name of another owner's
// client.
std::string turn_key(const std::string& owner, const std::string& client);
// The same in SQL, of a row of jobs.
#define DSLAD_TURN_KEY "iif(owner = '', client, owner || char(10) || client)"

// Whether a row of jobs is leased, in SQL: its latest attempt has not ended. Of one that is queued: its
// worker has not begun it, and it is not to be leased again.
#define DSLAD_LEASED                                                                                    \
  "EXISTS (SELECT 1 FROM attempts WHERE attempts.job_id = jobs.id AND attempts.attempt = jobs.attempt " \
  "AND attempts.outcome IS NULL)"

struct QueuedJob {
  schema::JobId id = 0;
  std::string client;  // its turn_key()
  std::string model;   // name or digest of who must answer; empty: any
  std::int32_t priority = 0;
  std::int64_t created_ms = 0;
  std::int64_t due_ms = 0;                  // its turn among jobs of one priority
  std::optional<std::int64_t> deadline_ms;  // absent: none
  std::optional<double> min_quality;
  std::optional<std::uint32_t> max_plan;
  bool best_effort = false;
  std::uint64_t bytes = 0;  // of document, prompt and questions
  std::uint32_t questions = 0;
  std::uint32_t max_tokens = 0;         // of each answer
  std::uint32_t needs_context = 0;      // tokens: a worker with less has refused it
  std::uint64_t needs_cache_bytes = 0;  // where no plan's figures are known; else the next
  std::uint64_t needs_tokens = 0;  // room in a cache, as a worker that had too little on one plan measured
  schema::Overflow overflow = schema::Overflow::kError;
  std::int64_t document = 0;  // a name for its content; 0: it has none
  bool suspect = false;       // workers died with it and others: it runs with no other job beside it
  bool rerun = false;         // of another job, on plan 0 (reruns.h); users do not wait for it
  std::optional<std::int64_t> not_before_ms = {};  // until then no worker is given it
};

// What a plan that a worker may give to jobs keeps of them.
struct PlanRoom {
  std::uint32_t plan = 0;
  double quality = 0;  // relative to plan 0; 0: not measured
  std::uint64_t kv_bytes_per_token = 0;
  std::uint64_t state_bytes = 0;  // of a sequence
};
// As the text that DSLAD_HAS_ROOM reads. Empty: nothing is known.
std::string text_of(const std::vector<PlanRoom>& plans);

// Whether one of such plans, in SQL, that the job's terms allow has room for it in a cache of so many bytes.
#define DSLAD_HAS_ROOM(plans, cache_bytes)                                                            \
  "(needs_tokens = 0 OR " plans " = '' OR EXISTS (SELECT 1 FROM json_each(" plans                     \
  ") AS plan WHERE "                                                                                  \
  "iif(questions > 1, 2, 1) * (plan.value ->> 3) + needs_tokens * (plan.value ->> 2) <= " cache_bytes \
  " AND ((plan.value ->> 0) = 0 OR ((max_plan IS NULL OR (plan.value ->> 0) <= max_plan) "            \
  "AND (plan.value ->> 1) >= coalesce(min_quality, 0)))))"

// Jobs that a worker may be given.
struct ServedBy {
  std::string model;
  std::string model_digest;
  std::uint32_t context = 0;         // tokens
  std::uint64_t cache_bytes = 0;     // 0: not known
  std::vector<PlanRoom> plans = {};  // that may be given; empty: not known
};

// The next `limit` of them that have not expired: higher priority, then earlier due, then earlier id.
Result<std::vector<QueuedJob>> next_jobs(Database& db, const ServedBy& by, std::uint32_t limit,
                                         std::int64_t now_ms);

// Jobs that may not begin yet and were promised an end, among the `limit` that begin first, and in that
// order.
Result<std::vector<QueuedJob>> delayed_promises(Database& db, std::uint32_t limit);

}  // namespace dslad::daemon
