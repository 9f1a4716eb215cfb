#include "daemon/policy/relief.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "daemon/policy/steps.h"

namespace dslad::daemon::policy {
namespace {

// Bounds the time of a decision. What is still late after so many jobs were looked at gets the cheapest
// plans.
constexpr int kMostRounds = 64;
constexpr int kRoundsForExpected = 8;  // nobody gets the cheapest plans for the others
constexpr double kNothing = 1e-6;      // milliseconds
constexpr double kDear = 1.5;          // times what all steps of a job cost together for what they save

// The smallest number from `low` to `high` that is enough. REQUIRES: `high` is, and every number above one
// that is.
template <typename Enough>
std::size_t smallest(std::size_t low, std::size_t high, const Enough& enough) {
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (enough(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

class Relief {
 public:
  Relief(std::vector<Candidate>& candidates, const std::vector<double>& free_ms, bool for_expected)
      : candidates_(candidates),
        free_ms_(free_ms),
        for_expected_(for_expected),
        given_up_(candidates.size(), false) {
    find_pools();
    number_clients();
    find_cheapest();
    if (for_expected_) pass_by_the_dear();
    find_soonest();
  }

  void run(bool deadlines) {
    give_up_the_hopeless(deadlines);
    for (int round = 0; round < kMostRounds; ++round) {
      const std::optional<std::size_t> late = next_late(deadlines);
      if (!late) return;
      if (!relieve_one(*late)) given_up_[*late] = true;
    }
    while (next_late(deadlines)) {
      make_cheapest(late_.back());
      given_up_[late_.back()] = true;
    }
  }

  void run_expected() {
    for (std::size_t i = 0; i < candidates_.size(); ++i)
      given_up_[i] =
          !candidates_[i].expected() || candidates_[i].soonest_ms > candidates_[i].due_ms + kNothing;
    for (const bool deadlines : {true, false}) {
      for (int round = 0; round < kRoundsForExpected; ++round) {
        const std::optional<std::size_t> late = next_late(deadlines);
        if (!late) break;
        if (!relieve_one(*late)) given_up_[*late] = true;
      }
    }
  }

 private:
  // Jobs of one client that are in the way of a late one, in the order in which they run.
  using Jobs = std::vector<std::size_t>;

  // Workers that some job could take either of belong to one pool: work that goes away in one lets others
  // begin earlier there.
  void find_pools() {
    std::vector<std::size_t> pool(free_ms_.size());
    std::iota(pool.begin(), pool.end(), 0);
    for (const Candidate& candidate : candidates_) {
      if (!candidate.placeable()) continue;
      const std::size_t mine = pool[a_worker_of(candidate)];
      for (std::size_t worker = 0; worker < pool.size(); ++worker) {
        if (!takes(worker, candidate) || pool[worker] == mine) continue;
        std::replace(pool.begin(), pool.end(), std::size_t{pool[worker]}, mine);
      }
    }
    pools_.resize(pool.size());
    pool_of_.resize(candidates_.size());
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      if (!candidates_[i].placeable()) continue;
      pool_of_[i] = pool[a_worker_of(candidates_[i])];
      pools_[pool_of_[i]].push_back(i);
    }
  }

  static bool takes(std::size_t worker, const Candidate& candidate) {
    return candidate.work(worker, candidate.plans.size() - 1) < Candidate::kNever;
  }

  static std::size_t a_worker_of(const Candidate& candidate) {
    std::size_t worker = 0;
    while (!takes(worker, candidate)) ++worker;
    return worker;
  }

  void number_clients() {
    std::map<std::string, std::size_t> numbers;
    for (const Candidate& candidate : candidates_) numbers.emplace(candidate.job->client, 0);
    std::size_t next = 0;
    for (auto& [client, number] : numbers) number = next++;
    clients_ = next;
    for (const Candidate& candidate : candidates_) client_of_.push_back(numbers[candidate.job->client]);
  }

  // A converted layer is no cheaper for a short document: a plan that saves nothing is never worth its price.
  void find_cheapest() {
    for (const Candidate& candidate : candidates_) {
      std::size_t best = candidate.at;
      double least_ms = Candidate::kNever;
      for (std::size_t plan = candidate.at; plan < candidate.plans.size(); ++plan) {
        const double work_ms = candidate.least_work(plan);
        if (work_ms >= least_ms) continue;
        least_ms = work_ms;
        best = plan;
      }
      cheapest_.push_back(best);
    }
  }

  // Of each job's steps those are kept that are not dear.
  void pass_by_the_dear() {
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      Candidate& candidate = candidates_[i];
      if (!candidate.placeable()) continue;
      const std::size_t decided = std::exchange(candidate.at, 0);
      const std::vector<Step> steps = steps_of(candidates_, {i});
      candidate.at = decided;
      const auto saved_ms = [&](const Step& step) {
        return candidate.least_work(step.from) - candidate.least_work(step.to);
      };
      double cost = 0;
      double all_saved_ms = 0;
      for (const Step& step : steps) {
        cost += step.price * saved_ms(step);
        all_saved_ms += saved_ms(step);
      }
      std::size_t reached = decided;
      for (const Step& step : steps) {
        if (step.price * all_saved_ms <= kDear * cost) reached = std::max(reached, step.to);
      }
      cheapest_[i] = std::min(cheapest_[i], reached);
    }
  }

  void find_soonest() {
    std::vector<double> free_ms = free_ms_;
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      Candidate& candidate = candidates_[i];
      if (!candidate.placeable()) continue;
      const double soonest_ms = place(candidate, cheapest_[i], free_ms).finish_ms;
      if (for_expected_ && !candidate.expected()) continue;
      candidate.soonest_ms = soonest_ms;
      candidate.aim_ms = std::max(candidate.aim_ms, candidate.soonest_ms);  // no more than can be had
    }
  }

  // A deadline that is missed whatever is done is no reason to degrade anybody else; the job itself goes on
  // its cheapest plan, to be as little late, and as little in the way of others, as it can. A target is worth
  // coming near.
  void give_up_the_hopeless(bool deadlines) {
    for (const Jobs& pool : pools_) {
      std::optional<std::size_t> last;
      for (const std::size_t i : pool) {
        const Candidate& candidate = candidates_[i];
        if (candidate.has_deadline != deadlines || candidate.soonest_ms <= candidate.due_ms + kNothing)
          continue;
        given_up_[i] = true;
        if (deadlines) set(i, cheapest_[i], i);
        last = i;
      }
      if (last && !deadlines) make_cheapest(*last);
    }
  }

  // The job and all before it.
  void make_cheapest(std::size_t late) {
    for (const std::size_t i : pools_[pool_of_[late]]) {
      if (i > late) break;
      set(i, cheapest_[i], late);
    }
  }

  void set(std::size_t i, std::size_t at, std::size_t late) {
    Candidate& candidate = candidates_[i];
    if (at <= candidate.at) return;
    candidate.at = at;
    if (for_expected_) {
      candidate.for_expected = true;
    } else if (!candidate.raised_for) {
      candidate.raised_for = late;
    }
  }

  // The job to look at next, of those that are late and have a deadline, or have none. Of few the first: what
  // is taken for an early job helps all later ones, and need not be taken of them. Of many the one that is
  // late by most, as most others are then in time as well.
  [[nodiscard]] std::optional<std::size_t> next_late(bool deadlines) {
    constexpr std::size_t kFew = 16;
    late_.clear();
    std::size_t latest = 0;
    double most_ms = 0;
    scratch_ms_ = free_ms_;
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      const Candidate& candidate = candidates_[i];
      if (!candidate.placeable()) continue;
      const double late_ms = place(candidate, candidate.at, scratch_ms_).finish_ms - candidate.aim_ms;
      if (given_up_[i] || candidate.has_deadline != deadlines || late_ms <= kNothing) continue;
      late_.push_back(i);
      if (late_ms > most_ms) latest = i;
      most_ms = std::max(late_ms, most_ms);
    }
    if (late_.empty()) return std::nullopt;
    return late_.size() <= kFew ? late_.front() : latest;
  }

  // Whether the job is in time where each before it, and itself, runs on `plan_of(i)`.
  template <typename PlanOf>
  bool in_time(std::size_t late, const PlanOf& plan_of) {
    scratch_ms_ = free_ms_;
    double finish_ms = 0;
    for (const std::size_t i : pools_[pool_of_[late]]) {
      if (i > late) break;
      finish_ms = place(candidates_[i], plan_of(i), scratch_ms_).finish_ms;
    }
    return finish_ms <= candidates_[late].aim_ms + kNothing;
  }

  // Clients in the way of the job, by their tokens there: the most first. Sets `rank_of_`, too.
  std::vector<Jobs> rank_clients(std::size_t late) {
    std::vector<Jobs> jobs(clients_);
    std::vector<double> tokens(clients_, 0);
    for (const std::size_t i : pools_[pool_of_[late]]) {
      if (i > late) break;
      jobs[client_of_[i]].push_back(i);
      tokens[client_of_[i]] += candidates_[i].tokens;
    }
    std::vector<std::size_t> order(clients_);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return tokens[a] > tokens[b]; });
    rank_of_.resize(clients_);
    std::vector<Jobs> ranked;
    for (const std::size_t client : order) {
      if (jobs[client].empty()) continue;
      rank_of_[client] = ranked.size();
      ranked.push_back(std::move(jobs[client]));
    }
    return ranked;
  }

  // As many clients as it takes go to their cheapest plans, the last of them only as far as needed. False
  // where that is not enough.
  bool relieve_one(std::size_t late) {
    const std::vector<Jobs> clients = rank_clients(late);
    const auto first_clients = [&](std::size_t count) {
      return in_time(late, [&](std::size_t i) {
        return rank_of_[client_of_[i]] < count ? cheapest_[i] : candidates_[i].at;
      });
    };
    if (!first_clients(clients.size())) return false;
    const std::size_t count = smallest(1, clients.size(), first_clients);
    for (std::size_t rank = 0; rank + 1 < count; ++rank) {
      for (const std::size_t i : clients[rank]) set(i, cheapest_[i], late);
    }
    relieve_by(clients[count - 1], late);
    return true;
  }

  // As few steps of these jobs as are enough, the ones that save most for the quality that they cost.
  void relieve_by(const Jobs& jobs, std::size_t late) {
    std::vector<Step> steps = steps_of(candidates_, jobs);
    if (for_expected_)
      std::erase_if(steps, [&](const Step& step) { return step.to > cheapest_[step.candidate]; });
    const auto first_steps = [&](std::size_t count) {
      take(steps, count);
      return in_time(late, [&](std::size_t i) { return trial_[i]; });
    };
    const std::size_t count = smallest(0, steps.size(), first_steps);
    take(steps, count);
    undo_needless(steps, count, late);
    for (const std::size_t i : jobs) set(i, trial_[i], late);
  }

  void take(const std::vector<Step>& steps, std::size_t count) {
    trial_.clear();
    for (const Candidate& candidate : candidates_) trial_.push_back(candidate.at);
    for (std::size_t k = 0; k < count; ++k) trial_[steps[k].candidate] = steps[k].to;
  }

  // The last step may have been a large one, so that some before it are not needed any more.
  void undo_needless(const std::vector<Step>& steps, std::size_t count, std::size_t late) {
    constexpr std::size_t kMostUndone = 16;
    for (std::size_t tries = 0; tries < kMostUndone && tries < count; ++tries) {
      const Step& step = steps[count - 1 - tries];
      if (trial_[step.candidate] != step.to) continue;
      trial_[step.candidate] = step.from;
      if (!in_time(late, [&](std::size_t i) { return trial_[i]; })) trial_[step.candidate] = step.to;
    }
  }

  std::vector<Candidate>& candidates_;
  const std::vector<double>& free_ms_;
  bool for_expected_;  // jobs that are expected are looked after, else those that wait
  std::vector<bool> given_up_;
  std::vector<Jobs> pools_;             // candidates by pool, in the order in which they run
  std::vector<std::size_t> pool_of_;    // by candidate, as are the next three
  std::vector<std::size_t> client_of_;  // numbers from 0, in the order of the clients' names
  std::vector<std::size_t> cheapest_;   // the plan with the least work
  std::size_t clients_ = 0;
  std::vector<std::size_t> rank_of_;  // by client: its place among those in the way of the job at hand
  std::vector<double> scratch_ms_;
  std::vector<std::size_t> late_;
  std::vector<std::size_t> trial_;  // by candidate: the plan that is tried
};

}  // namespace

void relieve(std::vector<Candidate>& candidates, const std::vector<double>& free_ms) {
  Relief relief(candidates, free_ms, false);
  relief.run(true);
  relief.run(false);
}

void relieve_expected(std::vector<Candidate>& candidates, const std::vector<double>& free_ms) {
  const std::vector<Slot> slots = schedule(candidates, free_ms);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (!candidates[i].expected() || slots[i].finish_ms <= candidates[i].aim_ms) continue;
    Relief(candidates, free_ms, true).run_expected();
    return;
  }
}

}  // namespace dslad::daemon::policy
