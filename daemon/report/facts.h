// What a report says, read from the public views of a database (docs/database.md) and from nothing else.
// Everything that grows with the number of jobs is summed up by SQLite.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/report/timeline.h"

namespace dslad::daemon::report {

// Half of the figures are below p50, 95 of a hundred below p95.
struct Percentiles {
  double p50 = 0, p95 = 0;
};

// The jobs that ended in one part of the timeline.
struct Part {
  std::map<std::string, std::uint64_t> ended;    // by state
  std::map<std::uint32_t, std::uint64_t> plans;  // that succeeded, by plan
  std::optional<Percentiles> queue_ms, prefill_ms, decode_ms;
  std::uint64_t prompt_tokens = 0;
  std::uint64_t output_tokens = 0;
};

// Jobs that have something in common.
struct Group {
  std::string name;
  std::uint64_t jobs = 0, succeeded = 0, failed = 0;
  std::optional<Percentiles> queue_ms, total_ms;
  std::uint64_t prompt_tokens = 0, output_tokens = 0;
};

struct Failure {
  std::string state, code, message;
  std::uint64_t jobs = 0;
  std::string last_at;
};

struct PlanAt {
  std::int64_t time_s;
  std::uint32_t plan;
};

struct WorkerPlans {
  std::string name;
  std::vector<PlanAt> plans;  // in force from then on
};

struct Conversion {
  std::string at, model, worker, from, to, reason;
  std::uint32_t layer = 0, plan = 0;
  std::uint64_t queued = 0;
};

struct Layer {
  std::string model, digest, state, reason;
  std::uint32_t layer = 0;
  std::optional<std::uint32_t> plan;  // that ends with it
  bool distilled = false;
  std::uint32_t workers_active = 0;
  std::optional<double> entropy, kl, quality;
};

struct PolicyEvent {
  std::string at, policy, model, why;
  std::uint32_t from = 0, to = 0;
  std::uint64_t waiting = 0;
};

struct Facts {
  std::int64_t now_s = 0;
  std::optional<std::int64_t> since_s;  // only jobs and events from then on
  std::int64_t first_s = 0;             // of what the timeline shows
  std::int64_t last_s = 0;
  Timeline timeline;
  std::map<std::string, std::uint64_t> jobs;  // by state
  std::vector<Part> parts;                    // as many as the timeline has
  std::vector<Group> tasks, clients, labels, plans;
  std::vector<Failure> failures;
  std::vector<WorkerPlans> worker_plans;
  std::vector<Conversion> conversions;  // newest first
  std::vector<PolicyEvent> policy;      // newest first
  std::vector<Layer> layers;
};

constexpr int kGroups = 20;  // of a kind, those with most jobs
constexpr int kEvents = 20;  // the latest

// Errors: kInvalidArgument where the file is no database of dslad's, or must not be read.
Result<Facts> read_facts(const std::filesystem::path& database, std::int64_t now_s,
                         std::optional<std::int64_t> since_s);

}  // namespace dslad::daemon::report
