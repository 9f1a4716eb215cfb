#include "daemon/policy/relief.h"

#include <algorithm>
#include <map>
#include <string>

namespace dslad::daemon::policy {
namespace {

// Bounds the work of a decision: after so many late jobs were looked at, the rest waits for the next one.
constexpr int kMostRounds = 64;
constexpr double kNothing = 1e-6;  // milliseconds

class Relief {
 public:
  Relief(std::vector<Candidate>& candidates, const std::vector<double>& free_ms)
      : candidates_(candidates), free_ms_(free_ms), given_up_(candidates.size(), false) {}

  void run(bool deadlines) {
    for (int round = 0; round < kMostRounds; ++round) {
      const std::vector<Slot> slots = schedule(candidates_, free_ms_);
      const std::optional<std::size_t> late = latest(slots, deadlines);
      if (!late) return;
      const Candidate& job = candidates_[*late];
      const double excess_ms = slots[*late].finish_ms - static_cast<double>(job.due_ms);
      const std::vector<std::size_t> before = levels();
      const double left_ms = shed(*late, excess_ms * static_cast<double>(sharing(job)));
      if (left_ms <= kNothing && before != levels())
        continue;  // it may be late by a little still: look again
      given_up_[*late] = true;
      // A deadline that is missed all the same is no reason to degrade anybody; a target is worth coming
      // near.
      if (deadlines) restore(before);
    }
  }

 private:
  [[nodiscard]] std::vector<std::size_t> levels() const {
    std::vector<std::size_t> all;
    all.reserve(candidates_.size());
    for (const Candidate& candidate : candidates_) all.push_back(candidate.at);
    return all;
  }
  void restore(const std::vector<std::size_t>& levels) {
    for (std::size_t i = 0; i < levels.size(); ++i) candidates_[i].at = levels[i];
  }

  // The job that is late by most, of those with a deadline or of those without.
  [[nodiscard]] std::optional<std::size_t> latest(const std::vector<Slot>& slots, bool deadlines) const {
    std::optional<std::size_t> latest;
    double most_ms = kNothing;
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      const Candidate& candidate = candidates_[i];
      if (!candidate.placeable() || given_up_[i] || candidate.has_deadline != deadlines) continue;
      const double late_ms = slots[i].finish_ms - static_cast<double>(candidate.due_ms);
      if (late_ms <= most_ms) continue;
      most_ms = late_ms;
      latest = i;
    }
    return latest;
  }

  // Workers among which the work before the job is divided.
  [[nodiscard]] std::size_t sharing(const Candidate& job) const {
    std::size_t workers = 0;
    for (std::size_t worker = 0; worker < free_ms_.size(); ++worker) {
      if (job.work(worker, job.at) < Candidate::kNever) ++workers;
    }
    return std::max<std::size_t>(workers, 1);
  }

  // Whether work of `other` that goes away lets `job` begin earlier: a worker could take either.
  [[nodiscard]] bool in_the_way(const Candidate& other, const Candidate& job) const {
    for (std::size_t worker = 0; worker < free_ms_.size(); ++worker) {
      if (other.work(worker, other.at) < Candidate::kNever && job.work(worker, job.at) < Candidate::kNever)
        return true;
    }
    return false;
  }

  [[nodiscard]] double work(const Candidate& candidate, std::size_t plan) const {
    return candidate.least_work(plan, free_ms_.size());
  }

  // Takes about `wanted_ms` of work from the job and those before it; gives what is left to take.
  double shed(std::size_t late, double wanted_ms) {
    std::map<std::string, std::vector<std::size_t>> jobs_of;
    std::map<std::string, double> tokens_of;
    for (std::size_t i = 0; i <= late; ++i) {
      const Candidate& candidate = candidates_[i];
      if (!candidate.placeable() || !in_the_way(candidate, candidates_[late])) continue;
      jobs_of[candidate.job->client].push_back(i);
      tokens_of[candidate.job->client] += candidate.tokens;
    }
    std::vector<std::pair<double, std::string>> clients;
    for (const auto& [client, tokens] : tokens_of) clients.emplace_back(-tokens, client);
    std::sort(clients.begin(), clients.end());
    for (const auto& [tokens, client] : clients) {
      if (wanted_ms <= kNothing) break;
      wanted_ms = shed_of(jobs_of[client], wanted_ms);
    }
    return std::max(0.0, wanted_ms);
  }

  // The same of one client's jobs: all of them to the smallest plan that is enough, then those behind back to
  // the plan before as long as it stays enough.
  double shed_of(const std::vector<std::size_t>& jobs, double wanted_ms) {
    std::vector<std::uint32_t> plans;
    for (const std::size_t i : jobs) {
      const Candidate& candidate = candidates_[i];
      plans.insert(plans.end(), candidate.plans.begin(), candidate.plans.end());
    }
    std::sort(plans.begin(), plans.end());
    plans.erase(std::unique(plans.begin(), plans.end()), plans.end());
    const std::vector<std::size_t> before = levels();
    double shed_ms = 0;
    for (const std::uint32_t plan : plans) {
      shed_ms = 0;
      std::vector<std::size_t> previous;
      for (const std::size_t i : jobs) {
        previous.push_back(candidates_[i].at);
        shed_ms += raise(candidates_[i], before[i], plan);
      }
      if (shed_ms >= wanted_ms) return wanted_ms - give_back(jobs, previous, shed_ms, wanted_ms);
    }
    return wanted_ms - shed_ms;
  }

  // To the largest plan up to `plan` that saves anything over `from`; gives what it saves.
  double raise(Candidate& candidate, std::size_t from, std::uint32_t plan) const {
    for (std::size_t next = candidate.at + 1; next < candidate.plans.size(); ++next) {
      if (candidate.plans[next] > plan) break;
      if (work(candidate, next) < work(candidate, candidate.at)) candidate.at = next;
    }
    return work(candidate, from) - work(candidate, candidate.at);
  }

  double give_back(const std::vector<std::size_t>& jobs, const std::vector<std::size_t>& previous,
                   double shed_ms, double wanted_ms) {
    for (std::size_t k = jobs.size(); k-- > 0;) {
      Candidate& candidate = candidates_[jobs[k]];
      const double price_ms = work(candidate, previous[k]) - work(candidate, candidate.at);
      if (price_ms <= 0 || shed_ms - price_ms < wanted_ms) continue;
      candidate.at = previous[k];
      shed_ms -= price_ms;
    }
    return shed_ms;
  }

  std::vector<Candidate>& candidates_;
  const std::vector<double>& free_ms_;
  std::vector<bool> given_up_;
};

}  // namespace

void relieve(std::vector<Candidate>& candidates, const std::vector<double>& free_ms) {
  Relief relief(candidates, free_ms);
  relief.run(true);
  relief.run(false);
}

}  // namespace dslad::daemon::policy
