#include "daemon/dispatch/planner.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <set>
#include <utility>

#include "base/process/log.h"
#include "daemon/policy/announced.h"

namespace dslad::daemon {
namespace {

constexpr std::int64_t kSoonestMs = 20;     // between two decisions
constexpr std::int64_t kShareOfTime = 20;   // at most so many times as long as a decision takes
constexpr std::int64_t kStalestMs = 2'000;  // but no longer, on however busy a machine: jobs may wait for it
constexpr std::int64_t kLatestMs = 1'000;   // between two decisions, though nothing changed but the time
constexpr schema::JobId kEveryJob = std::numeric_limits<schema::JobId>::max();
constexpr std::size_t kMostCostModels = 1'000;  // kinds of workers that are remembered

using policy::device_of;
using policy::host_of;
using policy::speed_key;

policy::WorkerFacts facts_of(const WorkerState& worker) {
  return policy::facts_of(worker.hello);
}

// What a person's plan becomes for a job: where it has terms of its own, a plan by name, as its worker may be
// about to take another than the one that it told of last.
PlanChoice by_hand(const policy::WorkerFacts& worker, std::uint32_t in_force, const QueuedJob& job) {
  if (!job.min_quality && !job.max_plan) return {std::nullopt, "set by hand"};
  const double least = job.min_quality.value_or(0);
  const std::uint32_t allowed = policy::cap(worker, in_force, least, job.max_plan);
  if (allowed == in_force) return {allowed, "set by hand", least};
  return {allowed,
          fmt::format("plan {} is set by hand; the job's own terms allow no more than {}", in_force, allowed),
          least};
}

// A plan on which a worker has shown not to have room for the job makes way to one on which it has.
PlanChoice fitted(const policy::WorkerFacts& worker, PlanChoice choice, const QueuedJob& job) {
  if (job.needs_tokens == 0 || !choice.plan) return choice;
  const std::optional<std::uint32_t> plan =
      policy::with_room(worker, *choice.plan, choice.min_quality, job.max_plan,
                        static_cast<double>(job.needs_tokens), job.questions);
  if (!plan || *plan == *choice.plan) return choice;
  if (*plan > *choice.plan) choice.why = "on a smaller plan it does not fit the worker's cache";
  choice.plan = plan;
  return choice;
}

}  // namespace

policy::JobSize size_of(const QueuedJob& job) {
  return {job.bytes, job.questions, job.max_tokens, job.overflow};
}

Planner::Planner(const Clock& clock, Executor& store, WorkerTable& table, const policy::Settings& settings,
                 Listener listener)
    : clock_(clock), store_(store), table_(table), settings_(settings), listener_(std::move(listener)) {}

void Planner::use(const policy::Settings& settings) {
  settings_ = settings;
  use_agreements(agreements_);
  forecasts_ = std::make_shared<const Forecasts>();  // decided by other rules
  layout_ = std::make_shared<const Layout>();
  decided_at_ = 0;
  look_again();
}

std::int64_t Planner::steady(std::int64_t wall_ms) const {
  return wall_ms - clock_.wall_ms() + clock_.steady_ms();
}

std::int64_t Planner::wall(std::optional<std::int64_t> steady_ms) const {
  return steady_ms ? *steady_ms - clock_.steady_ms() + clock_.wall_ms() : 0;
}

void Planner::tick() {
  const std::int64_t since_ms = clock_.steady_ms() - decided_at_;
  const std::int64_t soonest_ms =
      std::clamp(kShareOfTime * (decided_at_ - began_at_), kSoonestMs, kStalestMs);
  if (reading_ || (decided_at_ != 0 && since_ms < (stale_ ? soonest_ms : kLatestMs))) return;
  began_at_ = clock_.steady_ms();
  if (decided_at_ != 0 && !stale_ && admitted_.empty() && snapshot_.rows_changed == store_.rows_changed()) {
    decided_at_ = began_at_;
    decide();  // only the time went on
    listener_.decided();
  } else {
    look();
  }
}

void Planner::look() {
  stale_ = false;
  reading_ = true;
  std::vector<ServedBy> served;
  for (const WorkerState* worker : table_.connected()) {
    const schema::Hello& hello = worker->hello;
    const bool known = std::any_of(served.begin(), served.end(), [&](const ServedBy& one) {
      return one.model == hello.model && one.model_digest == hello.model_digest;
    });
    if (!known) served.push_back({hello.model, hello.model_digest, 0, 0});
  }
  // Those that were admitted until now are stored before this is read.
  store_.post(Work(read_snapshot, served, clock_.wall_ms()),
              [this, seen = std::ssize(admitted_)](Result<Snapshot> snapshot) {
                reading_ = false;
                decided_at_ = clock_.steady_ms();
                if (snapshot) {  // an error: claims go by what was decided before
                  snapshot_ = std::move(snapshot).value();
                  snapshot_.queued -= std::min<std::uint64_t>(snapshot_.queued, table_.not_begun());
                  admitted_.erase(admitted_.begin(), admitted_.begin() + seen);
                  decide();
                }
                listener_.decided();
              });
}

Result<Planner::Snapshot> Planner::read_snapshot(Database& db, const std::vector<ServedBy>& served,
                                                 std::int64_t now_ms) {
  Snapshot snapshot;
  snapshot.read_ms = now_ms;
  std::set<schema::JobId> known;
  for (const ServedBy& by : served) {
    Result<std::vector<QueuedJob>> jobs = next_jobs(db, by, kLooksAhead, now_ms);
    if (!jobs) return jobs.error();
    for (QueuedJob& job : *jobs) {
      if (known.insert(job.id).second) snapshot.jobs.push_back(std::move(job));
    }
  }
  Result<std::vector<QueuedJob>> delayed_jobs = delayed_promises(db, kLooksAhead);
  if (!delayed_jobs) return delayed_jobs.error();
  snapshot.delayed = std::move(*delayed_jobs);
  Result<std::map<std::string, std::uint64_t>> counts = count_jobs(db);
  if (!counts) return counts.error();
  const Result<std::uint64_t> delayed = count_delayed(db);
  if (!delayed) return delayed.error();
  snapshot.queued = (*counts)["queued"] - std::min((*counts)["queued"], *delayed);  // they are no load yet
  snapshot.rows_changed = db.rows_changed();
  return snapshot;
}

bool Planner::deciding() {
  if (settings_.kind == policy::PolicyKind::kManual) return false;
  if (stale_) tick();
  return reading_;
}

policy::WorkerFacts Planner::facts(const WorkerState& worker) const {
  policy::WorkerFacts offered = facts_of(worker);
  offered.read = worker.documents.on_plans_of(worker.hello.edition);
  for (const schema::PlanAgreement& one : agreements_) {
    if (!one.withdrawn || one.model_digest != worker.hello.model_digest ||
        one.edition != worker.hello.edition)
      continue;
    const auto erased = std::erase_if(offered.plans, [&](const auto& plan) { return plan.plan >= one.plan; });
    if (erased > 0) offered.withdrawn = one.plan;
  }
  return offered;
}

std::vector<policy::WorkerFacts> Planner::workers() const {
  std::vector<policy::WorkerFacts> all;
  for (const WorkerState* worker : table_.connected()) {
    if (worker->hello.capacity == 0) continue;  // it stops
    policy::WorkerFacts& made = all.emplace_back(facts(*worker));
    const auto model = costs_.find(made.speed_key);
    if (model != costs_.end()) made.busy_ms = work_left(model->second, made, *worker, kEveryJob);
  }
  return all;
}

double Planner::work_left(const policy::CostModel& model, const policy::WorkerFacts& facts,
                          const WorkerState& worker, schema::JobId last) {
  double left_ms = 0;
  for (const auto& [id, held] : worker.jobs) {
    if (id > last) break;
    if (held.job.rerun) continue;  // it makes room when a job comes
    const policy::JobSize size = size_of(held.job);
    const std::uint32_t plan = held.plan.value_or(worker.hello.plan);
    policy::Work work = model.of(size, facts.shape(plan), facts.context);
    const schema::Progress& progress = held.progress;
    if (progress.prompt_total > 0) {
      work.prefill_ms *= 1 - std::min(1.0, static_cast<double>(progress.prompt_done) /
                                               static_cast<double>(progress.prompt_total));
    }
    const double expected = model.output_tokens(size);
    if (expected > 0)
      work.decode_ms *= 1 - std::min(1.0, static_cast<double>(progress.tokens_out) / expected);
    left_ms += work.total_ms();
  }
  return left_ms;
}

policy::WaitingJob Planner::waiting(const QueuedJob& job) const {
  policy::WaitingJob made{
      job.id,       job.client,      job.model,    job.priority, steady(job.created_ms), steady(job.due_ms),
      std::nullopt, job.min_quality, job.max_plan, size_of(job)};
  if (job.deadline_ms) made.deadline_ms = steady(*job.deadline_ms);
  made.best_effort = job.best_effort;
  made.document = job.document;
  if (job.not_before_ms) made.starts_ms = steady(*job.not_before_ms);
  made.needs_tokens = job.needs_tokens;
  return made;
}

// Under `manual` nothing is decided, and jobs run on the plan in force.
policy::Settings Planner::predicting() const {
  policy::Settings settings = settings_;
  if (settings.kind == policy::PolicyKind::kManual) settings.min_quality = 0;
  return settings;
}

policy::Verdict Planner::run(const std::vector<QueuedJob>& jobs) const {
  std::vector<policy::WaitingJob> all;
  all.reserve(jobs.size());
  for (const QueuedJob& job : jobs) all.push_back(waiting(job));
  const policy::Settings settings = predicting();
  return policy::decide(settings, history_, all, workers(), costs_, clock_.steady_ms());
}

void Planner::decide() {
  if (settings_.kind == policy::PolicyKind::kManual) take_levels_by_hand();
  verdict_ = run(snapshot_.jobs);
  admitted_ms_.clear();
  if (snapshot_.queued > snapshot_.jobs.size() && !snapshot_.jobs.empty()) {
    // Those behind the head are taken to be like it.
    const double more = static_cast<double>(snapshot_.queued) / static_cast<double>(snapshot_.jobs.size());
    verdict_.waiting_tokens *= more;
    verdict_.drain_ms *= more;
    verdict_.drain_at_plan_0_ms *= more;
    for (auto& [digest, model] : verdict_.models) model.load.drain_ms *= more;
  }
  auto forecasts = std::make_shared<Forecasts>();
  std::uint64_t place = 0;
  for (const policy::Decision& one : verdict_.decisions) {
    Forecast& forecast = (*forecasts)[one.id];
    forecast = {
        one.model_digest, one.plan,           one.quality,        policy::explain(one, settings_, verdict_),
        ++place,          wall(one.start_ms), wall(one.finish_ms)};
    if (settings_.kind == policy::PolicyKind::kManual) {
      forecast.plan.reset();
      forecast.quality.reset();
      forecast.why = "set by hand";
    } else if (one.reason == policy::Reason::kNobody) {
      forecast.plan.reset();
    }
  }
  forecasts_ = std::move(forecasts);
  note_layout();
  note_levels(verdict_);
}

ChoosePlan Planner::plan_chooser(const WorkerState& worker) const {
  policy::WorkerFacts offered = facts(worker);
  const std::uint32_t in_force = worker.hello.plan;
  if (settings_.kind == policy::PolicyKind::kManual) {
    return [facts = std::move(offered), in_force](const QueuedJob& job) {
      return by_hand(facts, in_force, job);
    };
  }
  // For a job that came after the last decision.
  const bool deadline = settings_.kind == policy::PolicyKind::kDeadline;
  const bool fixed = settings_.kind == policy::PolicyKind::kStatic;
  const std::uint32_t level = deadline ? 0
                              : fixed  ? settings_.static_plan
                                       : history_.level_of(worker.hello.model_digest);
  return [facts = std::move(offered), level, deadline, fixed, floor = settings_.min_quality,
          forecasts = forecasts_](const QueuedJob& job) -> PlanChoice {
    const double least = std::max(floor, job.min_quality.value_or(0));
    const auto found = forecasts->find(job.id);
    // Another model's level is nothing to a worker that takes its job.
    const bool forecast = found != forecasts->end() && found->second.plan &&
                          (deadline || fixed || found->second.model_digest == facts.model_digest);
    if (!forecast) {
      return fitted(facts,
                    {policy::cap(facts, level, least, job.max_plan),
                     deadline ? "it began as soon as it came" : "the plan of all jobs that allow it", least},
                    job);
    }
    return fitted(
        facts, {policy::cap(facts, *found->second.plan, least, job.max_plan), found->second.why, least}, job);
  };
}

void Planner::finished(const WorkerState& worker, const QueuedJob& job, const schema::JobMetrics& metrics) {
  look_again();
  const policy::WorkerFacts facts = facts_of(worker);  // with plans that are no longer given
  if (!costs_.contains(facts.speed_key) && costs_.size() >= kMostCostModels) return;
  if (metrics.prefill_work_ms + metrics.decode_work_ms <= 0) return;  // it does not measure them
  policy::Observation seen;
  const double parts = std::max(metrics.parts, 1u);
  const auto read = static_cast<double>(metrics.prompt_tokens);
  seen.size = size_of(job);
  // Of the bytes, those that were read: what a token has on average shall not depend on what was left out.
  seen.size.bytes =
      static_cast<std::uint64_t>(static_cast<double>(seen.size.bytes) / parts *
                                 (read / std::max(1.0, read + static_cast<double>(metrics.cut_tokens))));
  seen.plan = facts.shape(metrics.plan);
  seen.prompt_tokens = read / parts;
  seen.output_tokens = static_cast<double>(metrics.output_tokens) / parts;
  seen.work = {metrics.prefill_work_ms / parts, metrics.decode_work_ms / parts};
  seen.batch = metrics.batch;
  seen.reused_tokens = static_cast<double>(metrics.reused_tokens) / parts;
  costs_[facts.speed_key].learn(seen);
}

bool Planner::knows(const WorkerState& worker) const {
  return costs_.contains(speed_key(worker.hello));
}

void Planner::recall(const WorkerState& worker, const std::vector<WorkDone>& done) {
  if (knows(worker)) return;
  for (auto one = done.rbegin(); one != done.rend(); ++one) {
    if (host_of(one->worker) == host_of(worker.hello.name) &&
        device_of(one->worker) == device_of(worker.hello.name))
      finished(worker, one->job, one->metrics);
  }
}

std::uint32_t Planner::plan_for(const WorkerState& worker) const {
  return policy::cap(facts(worker), history_.level_of(worker.hello.model_digest), settings_.min_quality,
                     std::nullopt);
}

std::optional<Forecast> Planner::forecast(schema::JobId job) const {
  const auto found = forecasts_->find(job);
  if (found == forecasts_->end()) return std::nullopt;
  return found->second;
}

std::int64_t Planner::running_finish(schema::JobId job) const {
  const WorkerState* worker = std::as_const(table_).by_job(job);
  if (worker == nullptr) return 0;
  const policy::WorkerFacts offered = facts(*worker);
  const auto model = costs_.find(offered.speed_key);
  if (model == costs_.end()) return 0;
  return clock_.wall_ms() + std::llround(work_left(model->second, offered, *worker, job));
}

schema::PolicyReply Planner::report() const {
  schema::PolicyReply reply;
  reply.policy = settings_.kind;
  reply.static_plan = settings_.static_plan;
  reply.min_quality = settings_.min_quality;
  reply.target_drain_ms = static_cast<std::uint64_t>(settings_.target_drain_ms);
  reply.dwell_ms = static_cast<std::uint64_t>(settings_.dwell_ms);
  reply.without = policy::left_out(settings_);
  reply.threshold_check_ms = static_cast<std::uint64_t>(settings_.threshold.check_ms);
  reply.threshold_cooldown_ms = static_cast<std::uint64_t>(settings_.threshold.cooldown_ms);
  reply.levels = levels();
  const auto largest =
      std::max_element(reply.levels.begin(), reply.levels.end(),
                       [](const auto& one, const auto& other) { return one.plan < other.plan; });
  if (largest != reply.levels.end()) {
    reply.plan = largest->plan;
    reply.since_ms = largest->since_ms;
    reply.why = largest->why;
    reply.change_cost_ms = largest->change_cost_ms;
  }
  reply.waiting_jobs = snapshot_.queued;
  reply.waiting_tokens = static_cast<std::uint64_t>(std::llround(verdict_.waiting_tokens));
  reply.drain_ms = static_cast<std::uint64_t>(std::llround(verdict_.drain_ms));
  reply.cost_models = cost_models();
  reply.idle_after_ms = static_cast<std::uint64_t>(settings_.idle.after_ms);
  reply.idle_window = settings_.idle.window;
  reply.canary_share = settings_.idle.canary_share;
  reply.min_agreement = settings_.idle.min_agreement;
  reply.idle = idle_;
  reply.agreements = agreements_;
  reply.notes = notes();
  return reply;
}

std::vector<schema::CostModelInfo> Planner::cost_models() const {
  std::vector<schema::CostModelInfo> infos;
  for (const auto& [key, model] : costs_) {
    schema::CostModelInfo& info = infos.emplace_back();
    info.workers = key;
    info.jobs = model.jobs();
    info.error_p50 = model.error(0.5);
    info.error_p90 = model.error(0.9);
    info.bytes_per_token = model.bytes_per_token();
    info.output_share = model.output_share();
    info.batch = model.batch();
    info.coefficients = model.coefficients();
    for (const policy::PlanSpeed& one : model.plan_speeds())
      info.plan_speeds.push_back({one.plan.attention, one.plan.states, one.prefill, one.decode});
  }
  return infos;
}

}  // namespace dslad::daemon
