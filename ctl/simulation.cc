#include "ctl/simulation.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <map>

#include "daemon/policy/announced.h"
#include "schema/limits.h"

namespace dslad::ctl {
namespace {

constexpr std::int64_t kSeldom_ms = 3'600'000;
constexpr std::int64_t kTurnWithoutDeadline_ms = 24 * 3'600'000;  // as in the daemon's queue

policy::Settings settings_of(const schema::PolicyReply& own) {
  policy::Settings settings;
  settings.kind = own.policy;
  settings.static_plan = own.static_plan;
  settings.min_quality = own.min_quality;
  settings.target_drain_ms = static_cast<std::int64_t>(own.target_drain_ms);
  settings.dwell_ms = static_cast<std::int64_t>(own.dwell_ms);
  policy::leave_out(own.without, settings);
  if (own.threshold_check_ms > 0) {  // an older daemon does not say
    settings.threshold.check_ms = static_cast<std::int64_t>(own.threshold_check_ms);
    settings.threshold.cooldown_ms = static_cast<std::int64_t>(own.threshold_cooldown_ms);
  }
  return settings;
}

Contender of_static(const policy::Settings& own, std::uint32_t plan) {
  Contender made{fmt::format("static:{}", plan), own};
  made.settings.kind = policy::PolicyKind::kStatic;
  made.settings.static_plan = plan;
  return made;
}

bool is_amount(double value) {
  return std::isfinite(value) && value >= 0;
}

// Whether a model of workers' speed can be run: one that nothing was learnt for has no coefficients.
bool is_learnt(const schema::CostModelInfo& info) {
  return info.jobs > 0 && std::all_of(info.coefficients.begin(), info.coefficients.end(), is_amount) &&
         std::any_of(info.coefficients.begin(), info.coefficients.end(), [](double one) { return one > 0; });
}

std::vector<policy::PlanSpeed> plan_speeds(const schema::CostModelInfo& info) {
  std::vector<policy::PlanSpeed> speeds;
  for (const schema::PlanSpeed& one : info.plan_speeds) {
    if (is_amount(one.prefill) && is_amount(one.decode) && is_amount(one.attention) && is_amount(one.states))
      speeds.push_back({{one.attention, one.states}, one.prefill, one.decode});
  }
  return speeds;
}

// The spread of a job's work around the model: half of the predictions were off by no more than the median
// error, and half of a normal distribution lies within 0.6745 standard deviations.
double noise_of(const schema::CostModelInfo& info) {
  constexpr double kQuartile = 0.6745;
  constexpr double kMost = 1;
  return std::isfinite(info.error_p50) ? std::clamp(info.error_p50 / kQuartile, 0.0, kMost) : 0.0;
}

// By the worker's own kind, or another worker's of the same model, as the policy itself does.
const schema::CostModelInfo* model_of(const schema::WorkerInfo& worker, const schema::DaemonStatus& status,
                                      const schema::PolicyReply& own) {
  const auto learnt = [&own](const schema::WorkerInfo& one) -> const schema::CostModelInfo* {
    const std::string key = policy::speed_key(one);
    for (const schema::CostModelInfo& info : own.cost_models) {
      if (info.workers == key && is_learnt(info)) return &info;
    }
    return nullptr;
  };
  if (const auto* found = learnt(worker)) return found;
  for (const schema::WorkerInfo& other : status.workers) {
    if (other.model_digest != worker.model_digest) continue;
    if (const auto* found = learnt(other)) return found;
  }
  return nullptr;
}

Status add_workers(const schema::DaemonStatus& status, const schema::PolicyReply& own, Simulation& made) {
  for (const schema::WorkerInfo& worker : status.workers) {
    if (worker.capacity == 0) continue;  // it stops
    const schema::CostModelInfo* info = model_of(worker, status, own);
    if (info == nullptr) {
      made.left_out.push_back(worker.name);
      continue;
    }
    // What the policy takes for a job's company: what it was of late; where an older daemon does not tell it,
    // that of a full worker.
    const double batch = info->batch > 0 ? info->batch : worker.capacity;
    const policy::CostModel truth = policy::CostModel::recorded(
        info->coefficients, info->bytes_per_token, info->output_share, batch, plan_speeds(*info));
    const policy::WorkerFacts facts = policy::facts_of(worker);
    made.workers.push_back(worker.name);
    made.scenario.known[facts.speed_key] = truth;
    made.scenario.workers.push_back({facts, truth, worker.capacity, noise_of(*info)});
  }
  if (!made.workers.empty()) return ok_status();
  if (made.left_out.empty())
    return Error{ErrorCode::kRefused,
                 "no worker is connected whose work could be simulated: start dslad-worker"};
  return Error{ErrorCode::kRefused,
               "nothing is known of the workers' speed, as none of their jobs has ended yet: submit some, of "
               "the trace's lengths if possible, and try again when they have ended"};
}

policy::SimulatedJob simulated(const TraceJob& job, double speed, const policy::CostModel& model) {
  policy::SimulatedJob made;
  policy::WaitingJob& waiting = made.job;
  waiting.client = job.client;
  waiting.model = job.model;
  waiting.priority = job.priority;
  waiting.submitted_ms = std::llround(job.arrived_s * 1'000 / speed);
  waiting.turn_ms = waiting.submitted_ms + kTurnWithoutDeadline_ms;
  if (job.deadline_ms)
    waiting.deadline_ms = waiting.turn_ms =
        waiting.submitted_ms + static_cast<std::int64_t>(*job.deadline_ms);
  waiting.min_quality = job.min_quality;
  waiting.max_plan = job.max_plan;
  waiting.size = {job.bytes, job.questions, job.max_tokens};
  if (job.bytes == 0) {
    const double bytes = static_cast<double>(job.prompt_tokens) * model.bytes_per_token();
    waiting.size.bytes = static_cast<std::uint64_t>(std::llround(bytes));
  }
  if (job.max_tokens == 0) {  // what is allowed is as much more than what comes as it was so far
    const double each =
        static_cast<double>(job.output_tokens) / waiting.size.answers() / model.output_share();
    waiting.size.max_tokens =
        static_cast<std::uint32_t>(std::clamp<double>(std::ceil(each), 1, schema::kMaxTokens));
  }
  made.prompt_tokens =
      job.bytes == 0 ? static_cast<double>(job.prompt_tokens) : model.prompt_tokens(waiting.size);
  made.output_tokens =
      job.max_tokens == 0 ? static_cast<double>(job.output_tokens) : model.output_tokens(waiting.size);
  return made;
}

// Who may answer jobs that name a model.
struct Served {
  const policy::CostModel* cost;  // the first one's, by which their tokens are counted
  std::uint32_t context = 0;      // the largest; 0: some worker's is not known
};

std::optional<Served> served(const std::string& model, const std::vector<policy::SimulatedWorker>& workers) {
  std::optional<Served> found;
  bool known = true;
  for (const policy::SimulatedWorker& worker : workers) {
    if (!policy::may_answer(worker.facts.model, worker.facts.model_digest, model)) continue;
    if (!found) found = Served{&worker.truth};
    known = known && worker.facts.context != 0;
    found->context = known ? std::max(found->context, worker.facts.context) : 0;
  }
  return found;
}

Status add_jobs(const std::vector<TraceJob>& jobs, double speed, Simulation& made) {
  std::map<std::string, std::optional<Served>> models;  // as jobs name them; absent: nobody serves it
  std::uint32_t longest = 0;
  for (const TraceJob& job : jobs) {
    const auto [model, is_new] = models.try_emplace(job.model);
    if (is_new) model->second = served(job.model, made.scenario.workers);
    if (!model->second) {
      ++made.not_served;
      continue;
    }
    policy::SimulatedJob one = simulated(job, speed, *model->second->cost);
    longest = std::max(longest, model->second->context);
    if (model->second->context != 0 && one.prompt_tokens > model->second->context) {
      ++made.too_large;
      continue;
    }
    one.job.id = static_cast<std::int64_t>(made.scenario.jobs.size()) + 1;
    made.scenario.jobs.push_back(std::move(one));
  }
  if (!made.scenario.jobs.empty()) return ok_status();
  if (made.too_large == 0) {
    return Error{ErrorCode::kRefused,
                 fmt::format("no worker serves '{}', nor any other model that the trace names: start one, or "
                             "leave the column model empty",
                             jobs.front().model)};
  }
  return Error{ErrorCode::kRefused,
               fmt::format("no job of the trace fits the workers, whose context has {} tokens at most: serve "
                           "a model with a larger context, or take a trace of shorter jobs",
                           longest)};
}

// Decisions are what takes the time. Each is made of all that waits, so it holds while few jobs end; a job
// that it has not seen is never begun without another one.
std::int64_t time_between_decisions_ms(const policy::Scenario& scenario) {
  constexpr double kJobs = 2;  // that end meanwhile, on average
  constexpr double kLeast_ms = 200;
  constexpr double kMost_ms = 10'000;
  const policy::SimulatedWorker& worker = scenario.workers.front();
  double work_ms = 0;
  for (const policy::SimulatedJob& job : scenario.jobs)
    work_ms += worker.truth.of(job.job.size, worker.facts.shape(0), worker.facts.context).total_ms();
  const auto among = static_cast<double>(scenario.jobs.size() * scenario.workers.size());
  return std::llround(std::clamp(kJobs * work_ms / among, kLeast_ms, kMost_ms));
}

}  // namespace

std::vector<Contender> usual_contenders(const schema::PolicyReply& own) {
  const policy::Settings settings = settings_of(own);
  Contender first{std::string(to_string(own.policy)), settings};
  if (own.policy == policy::PolicyKind::kStatic) first = of_static(settings, own.static_plan);
  if (own.policy == policy::PolicyKind::kManual) {
    first = of_static(settings, own.plan);
    first.name = "manual";
    first.settings.min_quality = 0;  // a person's plan holds whatever its quality
  }
  std::vector<Contender> all = {first};
  if (first.settings.kind != policy::PolicyKind::kStatic || first.settings.static_plan != 0)
    all.push_back(of_static(settings, 0));
  return all;
}

Result<Contender> contender_of(const std::string& text, const schema::PolicyReply& own) {
  const policy::Settings settings = settings_of(own);
  const std::string word = text.substr(0, text.find(':'));
  policy::PolicyKind kind{};
  if (schema::parse_word(word, kind) && kind == policy::PolicyKind::kStatic) {
    if (word == text) return of_static(settings, own.static_plan);
    std::uint32_t plan = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + word.size() + 1, end, plan);
    if (parsed.ec == std::errc() && parsed.ptr == end && plan <= schema::kMaxLayers)
      return of_static(settings, plan);
    return invalid_argument(fmt::format("--policy {}: the plan must be a number from 0 to {}, as in static:4",
                                        text, schema::kMaxLayers));
  }
  if (word == text && (kind == policy::PolicyKind::kDeadline || kind == policy::PolicyKind::kThreshold)) {
    Contender made{text, settings};
    made.settings.kind = kind;
    return made;
  }
  return invalid_argument(fmt::format(
      "--policy {}: no policy that can be simulated; there are deadline, threshold and static:N", text));
}

Result<Simulation> simulation_of(const std::vector<TraceJob>& jobs, double speed,
                                 const schema::DaemonStatus& status, const schema::PolicyReply& own) {
  Simulation made;
  made.scenario.learns = false;  // there is nothing to learn: what is known is what is true
  if (Status added = add_workers(status, own, made); !added) return added.error();
  if (Status added = add_jobs(jobs, speed, made); !added) return added.error();
  made.decide_every_ms = time_between_decisions_ms(made.scenario);
  return made;
}

ContenderOutcome run(Simulation& simulation, const Contender& contender) {
  simulation.scenario.settings = contender.settings;
  const bool fixed = contender.settings.kind == policy::PolicyKind::kStatic;  // however often it is asked
  simulation.scenario.decide_every_ms = fixed ? kSeldom_ms : simulation.decide_every_ms;
  const policy::Outcome outcome = policy::simulate(simulation.scenario);
  const policy::Summary summary = policy::summarize(simulation.scenario, outcome);
  ContenderOutcome made;
  made.policy = contender.name;
  made.jobs = outcome.jobs.size();
  made.makespan_ms = summary.makespan_ms;
  made.p50_ms = summary.p50_ms;
  made.p95_ms = summary.p95_ms;
  made.p99_ms = summary.p99_ms;
  made.with_deadline = summary.with_deadline;
  made.missed = summary.missed;
  const bool measured = std::none_of(outcome.jobs.begin(), outcome.jobs.end(),
                                     [](const policy::JobOutcome& one) { return one.quality <= 0; });
  if (measured && !outcome.jobs.empty()) made.quality = summary.quality;
  if (summary.makespan_ms > 0) made.changes_an_hour = summary.changes_an_hour;
  return made;
}

}  // namespace dslad::ctl
