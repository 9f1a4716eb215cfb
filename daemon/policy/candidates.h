// What each job that waits may run on, and how long it takes there. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/policy/bound.h"
#include "daemon/policy/cost_model.h"
#include "daemon/policy/schedule.h"

namespace dslad::daemon::policy {

using CostModels = std::map<std::string, CostModel>;  // by WorkerFacts::speed_key

bool allows(const PlanFacts& plan, double min_quality, std::optional<std::uint32_t> max_plan);

// The largest plan of the worker, up to `plan`, that such terms allow; plan 0 always is allowed.
std::uint32_t cap(const WorkerFacts& worker, std::uint32_t plan, double min_quality,
                  std::optional<std::uint32_t> max_plan);

// Of those plans that such terms allow and whose caches have room for so many tokens the largest up to
// `plan`, else the smallest above it.
std::optional<std::uint32_t> with_room(const WorkerFacts& worker, std::uint32_t plan, double min_quality,
                                       std::optional<std::uint32_t> max_plan, double tokens,
                                       std::uint32_t questions);

// The worker's plans; of one without a chain, plan 0.
const std::vector<PlanFacts>& plans_of(const WorkerFacts& worker);

// Makes candidates of jobs. Borrows what it is made from.
class Candidates {
 public:
  Candidates(const std::vector<WorkerFacts>& workers, const CostModels& costs, double min_quality,
             std::int64_t target_drain_ms, std::int64_t now_ms);

  // On the smallest plan that fits.
  [[nodiscard]] Candidate of(const WaitingJob& job);

  // Why it has no plan above `most`, the largest that it may run on.
  [[nodiscard]] Bound bound(const WaitingJob& job, std::uint32_t most) const;

  // Whether a job of this worker's kind has ended yet.
  [[nodiscard]] bool speed_known(std::size_t worker) const { return costs_[worker].own; }

 private:
  struct Cost {
    const CostModel* model = nullptr;  // nullptr: of no worker anything is known
    bool own = false;                  // else it is another kind's, for want of a better guess
  };
  struct Option {
    std::uint32_t plan = 0;
    double work_ms = 0;
    double loss = 0;
  };
  static Cost cost_of(const WorkerFacts& worker, const std::vector<WorkerFacts>& workers,
                      const CostModels& costs);
  [[nodiscard]] double margin(const Candidate& candidate) const;
  void find_options(const WaitingJob& job, std::size_t worker, std::vector<Option>& options) const;
  [[nodiscard]] bool serves(std::size_t worker, const WaitingJob& job) const;  // by model and length
  // Of a job, at most: what must fit a worker's cache. 0: nothing is known, or it is cut to fit.
  [[nodiscard]] double memory_tokens(std::size_t worker, const WaitingJob& job) const;

  const std::vector<WorkerFacts>& workers_;
  std::vector<Cost> costs_;                     // by worker
  std::vector<std::vector<PlanShape>> shapes_;  // by worker, of its plans_of(), as are the next
  std::vector<std::vector<double>> losses_;
  double min_quality_;
  std::int64_t target_drain_ms_;
  std::int64_t now_ms_;
  std::vector<std::vector<Option>> options_;  // by worker; of the job at hand
};

}  // namespace dslad::daemon::policy
