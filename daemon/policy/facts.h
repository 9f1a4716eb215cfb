// What the policy knows of workers and of jobs that wait. Plain values. Times are milliseconds on one axis
// that never jumps; sizes are bytes and tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "schema/job.h"

namespace dslad::daemon::policy {

struct PlanFacts {
  std::uint32_t plan = 0;         // layers that run DSLA
  std::optional<double> quality;  // relative to plan 0; absent: not measured
  std::uint64_t kv_bytes_per_token = 0;
  std::uint64_t state_bytes = 0;  // of a sequence
};

// What a plan is to the time that a token takes, from 0 to 1.
struct PlanShape {
  double attention = 1;  // keys and values that are kept of a token, of plan 0's
  double states = 0;     // sizes of the states, of the largest plan's
};

// Whether a worker of this model may answer a job that asks for `asked`: its name or digest; empty: any.
bool may_answer(const std::string& model, const std::string& digest, const std::string& asked);

// A document that a worker has read on a plan: what it keeps of it spares the next job the same work, on that
// plan alone.
struct ReadDocument {
  std::int64_t document = 0;  // WaitingJob's
  std::uint32_t plan = 0;
  double tokens = 0;   // that are expected to be there still
  bool again = false;  // another job has used it
};

struct WorkerFacts {
  std::string instance;
  std::string speed_key;  // workers that are equally fast have the same
  std::string model;
  std::string model_digest;
  std::uint32_t layers = 0;
  std::uint32_t context = 0;      // tokens; 0: not known
  std::uint64_t cache_bytes = 0;  // 0: not known
  std::vector<PlanFacts> plans;   // that it can run, ascending from plan 0; empty: plan 0 alone
  double busy_ms = 0;             // work left in the jobs that it has begun, predicted
  std::vector<ReadDocument> read = {};
  std::optional<std::uint32_t> withdrawn = {};  // plans from it on are given to no job, and not in `plans`

  // Tokens of the document that it need not read again on the plan.
  [[nodiscard]] double knows(std::int64_t document, std::uint32_t plan) const;
  // Of one that is not in the table (a person can set such): by the number of layers.
  [[nodiscard]] PlanShape shape(std::uint32_t plan) const;
};

// What is known of a job before it runs.
struct JobSize {
  std::uint64_t bytes = 0;                               // of document, prompt and questions
  std::uint32_t questions = 0;                           // 0: it has one answer all the same
  std::uint32_t max_tokens = 0;                          // of each answer
  schema::Overflow overflow = schema::Overflow::kError;  // of a document beyond the context

  [[nodiscard]] double answers() const { return questions == 0 ? 1.0 : questions; }
};

struct WaitingJob {
  std::int64_t id = 0;
  std::string client;
  std::string model;  // name or digest of who must answer; empty: any
  std::int32_t priority = 0;
  std::int64_t submitted_ms = 0;
  std::int64_t turn_ms = 0;                 // among jobs of one priority the earliest is first
  std::optional<std::int64_t> deadline_ms;  // absent: the target counts
  std::optional<double> min_quality;
  std::optional<std::uint32_t> max_plan;
  JobSize size;
  bool best_effort = false;   // it was taken whether or not its deadline can be met: nobody relies on it
  std::int64_t document = 0;  // a name for its content; 0: it has none
  std::optional<std::int64_t> starts_ms = {};  // it may begin no earlier; for admissions() alone
  // Room in a cache, as a worker that had too little for it measured; 0: that is predicted.
  std::uint64_t needs_tokens = 0;
};

}  // namespace dslad::daemon::policy
