#include "daemon/policy/simulate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "daemon/policy/simulated_engine.h"

namespace dslad::daemon::policy {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kLookAgain_ms = 1'000;  // though nothing changed but the time

class Simulation {
 public:
  explicit Simulation(const Scenario& scenario)
      : scenario_(scenario),
        costs_(scenario.known),
        random_(scenario.seed),
        queue_(InTurn{&scenario.jobs}),
        arrivals_(scenario.jobs.size()) {
    for (const SimulatedWorker& worker : scenario.workers) engines_.emplace_back(worker.room);
    std::iota(arrivals_.begin(), arrivals_.end(), 0);
    std::stable_sort(arrivals_.begin(), arrivals_.end(), [&](std::size_t a, std::size_t b) {
      return scenario.jobs[a].job.submitted_ms < scenario.jobs[b].job.submitted_ms;
    });
  }

  Outcome run() {
    if (!arrivals_.empty()) now_ms_ = next_decision_ms_ = arrival(0);
    while (true) {
      end_jobs();
      take_arrivals();
      if (now_ms_ >= next_decision_ms_ && (stale_ || now_ms_ >= decided_ms_ + kLookAgain_ms)) decide_plans();
      begin_jobs();
      const double next_ms = next_event();
      if (next_ms == kNever) return std::move(outcome_);
      pass_time(next_ms);
    }
  }

 private:
  struct InTurn {
    const std::vector<SimulatedJob>* jobs;
    bool operator()(std::size_t a, std::size_t b) const {
      return runs_before((*jobs)[a].job, (*jobs)[b].job);
    }
  };
  using Queue = std::set<std::size_t, InTurn>;
  struct Running {
    JobOutcome outcome;
    Work work;
    double batch = 1;
  };
  struct Decided {
    std::uint32_t plan = 0;
    Reservation reservation;
  };

  [[nodiscard]] double arrival(std::size_t number) const {
    return static_cast<double>(scenario_.jobs[arrivals_[number]].job.submitted_ms);
  }

  [[nodiscard]] bool idle() const { return running_.empty(); }

  [[nodiscard]] double next_event() const {
    const bool all_came = arrived_ == arrivals_.size();
    if (all_came && idle()) return kNever;  // what still waits nobody can take
    double next_ms = all_came ? kNever : arrival(arrived_);
    for (const SimulatedEngine& engine : engines_) next_ms = std::min(next_ms, now_ms_ + engine.next_ms());
    if (stale_) next_ms = std::min(next_ms, next_decision_ms_);
    const bool raised = std::any_of(history_.levels.begin(), history_.levels.end(),
                                    [](const auto& one) { return one.second.plan > 0; });
    if (raised || !queue_.empty())
      next_ms = std::min(next_ms, std::max(decided_ms_ + kLookAgain_ms, next_decision_ms_));
    return std::max(next_ms, now_ms_);
  }

  void pass_time(double to_ms) {
    for (SimulatedEngine& engine : engines_) engine.pass(to_ms - now_ms_);
    now_ms_ = to_ms;
  }

  void take_arrivals() {
    for (; arrived_ < arrivals_.size() && arrival(arrived_) <= now_ms_; ++arrived_) {
      queue_.insert(arrivals_[arrived_]);
      stale_ = true;
    }
  }

  void end_jobs() {
    for (SimulatedEngine& engine : engines_) {
      for (const std::size_t index : engine.take_done()) {
        Running& one = running_.at(index);
        one.outcome.finish_ms = now_ms_;
        if (scenario_.learns) learn_from(one);
        outcome_.jobs.push_back(one.outcome);
        running_.erase(index);
        stale_ = true;
      }
    }
  }

  void learn_from(const Running& one) {
    const SimulatedJob& job = scenario_.jobs[one.outcome.index];
    const WorkerFacts& facts = scenario_.workers[one.outcome.worker].facts;
    costs_[facts.speed_key].learn({job.job.size, facts.shape(one.outcome.plan), job.prompt_tokens,
                                   job.output_tokens, one.work, one.batch});
  }

  [[nodiscard]] std::vector<WorkerFacts> facts() const {
    std::vector<WorkerFacts> all;
    for (std::size_t w = 0; w < engines_.size(); ++w) {
      WorkerFacts& facts = all.emplace_back(scenario_.workers[w].facts);
      facts.busy_ms += busy_ms(w);
    }
    return all;
  }

  // Work that is left in what it has begun, as predicted.
  [[nodiscard]] double busy_ms(std::size_t worker) const {
    const WorkerFacts& facts = scenario_.workers[worker].facts;
    const auto model = costs_.find(facts.speed_key);
    if (model == costs_.end()) return 0;
    double left_ms = 0;
    for (const SimulatedEngine::Left& left : engines_[worker].left()) {
      const Work all_of_it = model->second.of(scenario_.jobs[left.id].job.size,
                                              facts.shape(running_.at(left.id).outcome.plan), facts.context);
      left_ms += all_of_it.total_ms() * left.share;
    }
    return left_ms;
  }

  void decide_plans() {
    std::vector<WaitingJob> waiting;
    for (const std::size_t index : queue_) {
      if (waiting.size() == scenario_.looks_ahead) break;
      waiting.push_back(scenario_.jobs[index].job);
    }
    const auto now_ms = static_cast<std::int64_t>(std::ceil(now_ms_));
    const Verdict verdict = decide(scenario_.settings, history_, waiting, facts(), costs_, now_ms);
    decided_.clear();
    for (const Decision& one : verdict.decisions) decided_[one.id] = {one.plan, one.reservation};
    for (const auto& [model, level] : verdict.history.levels) {
      const std::uint32_t before = history_.level_of(model);
      if (level.plan != before) outcome_.changes.push_back({now_ms, before, level.plan, model});
    }
    history_ = verdict.history;
    ++outcome_.decisions;
    stale_ = false;
    decided_ms_ = now_ms_;
    next_decision_ms_ = now_ms_ + static_cast<double>(scenario_.decide_every_ms);
  }

  // The worker with the fewest jobs takes first, until nobody has room or what they would take.
  void begin_jobs() {
    while (true) {
      std::vector<std::size_t> order(engines_.size());
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(),
                       [&](std::size_t a, std::size_t b) { return engines_[a].jobs() < engines_[b].jobs(); });
      if (std::none_of(order.begin(), order.end(), [&](std::size_t worker) { return begin_one(worker); }))
        return;
    }
  }

  bool begin_one(std::size_t worker) {
    if (!engines_[worker].has_room()) return false;
    const auto next = claimed_by(worker);
    if (next == queue_.end()) return false;
    const WaitingJob& job = scenario_.jobs[*next].job;
    begin(worker, *next,
          cap(scenario_.workers[worker].facts, decided_[job.id].plan,
              std::max(scenario_.settings.min_quality, job.min_quality.value_or(0)), job.max_plan));
    queue_.erase(next);
    return true;
  }

  // The first that it may take; where there is none, the first that it would rather not.
  [[nodiscard]] Queue::const_iterator claimed_by(std::size_t worker) {
    auto rather_not = queue_.end();
    for (auto next = queue_.begin(); next != queue_.end(); ++next) {
      if (!serves(scenario_.workers[worker].facts, scenario_.jobs[*next])) continue;
      const Claims claims = claims_of(worker, scenario_.jobs[*next]);
      if (claims == Claims::kTakes) return next;
      if (claims == Claims::kRatherNot && rather_not == queue_.end()) rather_not = next;
    }
    return rather_not;
  }

  [[nodiscard]] Claims claims_of(std::size_t worker, const SimulatedJob& job) {
    if (!decided_.contains(job.job.id)) decide_plans();  // it came after the latest decision
    const Reservation& reservation = decided_[job.job.id].reservation;
    if (!serves(scenario_.workers[reservation.worker].facts, job))
      return Claims::kTakes;  // that one refuses it
    return reservation.claims(worker, now_ms_ + busy_ms(worker), now_ms_);
  }

  static bool serves(const WorkerFacts& facts, const SimulatedJob& job) {
    if (!may_answer(facts.model, facts.model_digest, job.job.model)) return false;
    return facts.context == 0 || job.prompt_tokens <= facts.context;
  }

  void begin(std::size_t worker, std::size_t index, std::uint32_t plan) {
    const SimulatedWorker& own = scenario_.workers[worker];
    const SimulatedJob& job = scenario_.jobs[index];
    Running started;
    started.outcome = {index, worker, plan, 0, now_ms_, 0};
    for (const PlanFacts& one : plans_of(own.facts)) {
      if (one.plan == plan) started.outcome.quality = plan == 0 ? 1 : one.quality.value_or(0);
    }
    started.batch = static_cast<double>(engines_[worker].jobs() + 1);
    started.work =
        own.truth.of_tokens(job.prompt_tokens, job.output_tokens, own.facts.shape(plan), started.batch);
    const double factor = std::exp(own.noise * std::normal_distribution<double>()(random_));
    started.work.prefill_ms *= factor;
    started.work.decode_ms *= factor;
    engines_[worker].begin(
        {index, started.work, job.prompt_tokens, job.output_tokens / job.job.size.answers()});
    running_.emplace(index, started);
  }

  const Scenario& scenario_;
  CostModels costs_;
  std::mt19937_64 random_;
  Queue queue_;
  std::vector<std::size_t> arrivals_;  // indices of jobs, as they come
  std::size_t arrived_ = 0;
  std::vector<SimulatedEngine> engines_;     // by worker
  std::map<std::size_t, Running> running_;   // by job
  std::map<std::int64_t, Decided> decided_;  // the latest, by job
  History history_;
  bool stale_ = false;  // something has changed since the latest decision
  double now_ms_ = 0;
  double decided_ms_ = 0;
  double next_decision_ms_ = 0;  // not before
  Outcome outcome_;
};

double quantile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  const auto rank = static_cast<std::ptrdiff_t>(std::ceil(share * static_cast<double>(values.size())));
  const auto at = values.begin() + std::max<std::ptrdiff_t>(0, rank - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace

Outcome simulate(const Scenario& scenario) {
  return Simulation(scenario).run();
}

Summary summarize(const Scenario& scenario, const Outcome& outcome) {
  Summary summary;
  std::vector<double> took_ms;
  double tokens = 0;
  double first_ms = kNever;
  double last_ms = 0;
  for (const JobOutcome& one : outcome.jobs) {
    const SimulatedJob& job = scenario.jobs[one.index];
    const auto came_ms = static_cast<double>(job.job.submitted_ms);
    took_ms.push_back(one.finish_ms - came_ms);
    first_ms = std::min(first_ms, came_ms);
    last_ms = std::max(last_ms, one.finish_ms);
    tokens += job.prompt_tokens;
    summary.quality += job.prompt_tokens * one.quality;
    if (!job.job.deadline_ms) continue;
    ++summary.with_deadline;
    if (one.finish_ms > static_cast<double>(*job.job.deadline_ms)) ++summary.missed;
  }
  if (took_ms.empty()) return summary;
  summary.makespan_ms = last_ms - first_ms;
  summary.quality /= tokens;
  summary.p50_ms = quantile(took_ms, 0.5);
  summary.p95_ms = quantile(took_ms, 0.95);
  summary.p99_ms = quantile(took_ms, 0.99);
  constexpr double kHour_ms = 3'600'000;
  summary.changes_an_hour = static_cast<double>(outcome.changes.size()) * kHour_ms / summary.makespan_ms;
  return summary;
}

std::optional<double> reaction_ms(const Outcome& outcome, std::int64_t burst_ms) {
  for (const LevelChange& change : outcome.changes) {
    if (change.at_ms >= burst_ms && change.to > change.from)
      return static_cast<double>(change.at_ms - burst_ms);
  }
  return std::nullopt;
}

}  // namespace dslad::daemon::policy
