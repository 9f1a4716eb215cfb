#include "worker/service/worker.h"

#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/process/log.h"

namespace dslad::worker {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// Jobs that fail on plan 0, with none that succeeds on it between them, before the worker leaves: different
// ones, as one job may be at fault itself.
constexpr std::size_t kFailuresOnPlan0 = 3;

// Of a job that is read in parts, those that the engine has at once: enough to decode together, and few
// enough for other jobs to come between.
constexpr std::size_t kRequestsAtOnce = 4;

// What becomes of a document that is too long, where it is.
std::string handling(const JobRequests& requests) {
  if (requests.document_parts() > 0) return fmt::format(", in {} parts", requests.document_parts());
  if (requests.cut_tokens() > 0)
    return fmt::format(", without {} tokens of its middle", requests.cut_tokens());
  return "";
}

schema::WorkerResult result_of(const RunningJob& job) {
  schema::WorkerResult result;
  result.lease = job.lease;
  result.metrics.prefill_ms = job.prefill_ms;
  result.metrics.decode_ms = job.decode_ms;
  result.metrics.prefill_work_ms = job.times.prefill_work_ms;
  result.metrics.decode_work_ms = job.times.decode_work_ms;
  result.metrics.batch = job.times.batch();
  result.metrics.prompt_tokens = static_cast<std::uint64_t>(job.ended.prompt_total);
  result.metrics.output_tokens = static_cast<std::uint64_t>(job.ended.output_tokens);
  result.metrics.reused_tokens = static_cast<std::uint64_t>(job.ended.reused);
  result.metrics.parts = job.requests.document_parts();
  result.metrics.cut_tokens = job.requests.cut_tokens();
  describe(*job.plan, result.metrics);
  return result;
}

}  // namespace

std::uint32_t room_of(const Engine& engine, const Plan& plan, std::uint32_t capacity, std::uint32_t begun) {
  const auto wanted = static_cast<std::uint64_t>(engine.wants(plan)) + 1;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, capacity - std::min(capacity, begun)));
}

Worker::Worker(ModelFolder model, PlanControl plans, std::unique_ptr<ChainWatch> watch,
               std::unique_ptr<Engine> engine, std::unique_ptr<DaemonLink> link,
               std::unique_ptr<IdleDistiller> idle, process::StopSignals signals,
               process::ServiceManager& manager, const WorkerLimits& limits)
    : model_(std::move(model)),
      plans_(std::move(plans)),
      watch_(std::move(watch)),
      engine_(std::move(engine)),
      link_(std::move(link)),
      idle_(std::move(idle)),
      signals_(std::move(signals)),
      manager_(manager),
      limits_(limits),
      maker_(
          model_, [this] { link_->rouse(); }, idle_ ? idle_->wanted_bytes() : 0) {}

Status Worker::run() {
  manager_.ready();
  bool idle = true;
  for (;;) {
    while (auto order = link_->take(idle ? milliseconds{50} : milliseconds{0})) {
      obey(*std::move(order));
      idle = false;
    }
    while (auto made = maker_.take()) begin(*std::move(made));
    if (auto chain = watch_->take()) replace_chain(*std::move(chain));
    if (const int signal = signals_.take(); signal == SIGUSR2) {
      retire();
    } else if (signal == SIGHUP) {
      spdlog::info(
          "no setting of a worker changes while it runs; SIGUSR2 lets it finish its jobs and end, to be "
          "started anew");
    } else if (signal != 0) {
      ++stops_;
    }
    if (stops_ > 0) begin_drain("stop requested");
    if (draining_ && drained()) break;
    report_room();
    if (idle_) mind_idle_work();
    const double busy_ms = engine_->counters().busy_ms;
    const auto stepped = engine_->step(*this);
    if (!stepped) return leave_broken(stepped.error().with_context("the engine failed"), true);
    for (auto job = jobs_.begin(); job != jobs_.end();) {
      job->spend(engine_->counters().busy_ms - busy_ms);
      mind(job++);
    }
    if (broken_) return leave_broken(*broken_, false);  // the jobs have failed one by one
    idle = !*stepped;
    report(idle);
  }
  spdlog::info("leaving; {} unfinished jobs go back to the queue", held());
  link_->leave("the worker stops");
  return ok_status();
}

Status Worker::leave_broken(const Error& error, bool blame) {
  report_room();  // which jobs had begun
  spdlog::info("leaving; {} unfinished jobs go back to the queue", held());
  link_->leave(error.message, blame ? std::optional(error) : std::nullopt);
  return error;
}

void Worker::obey(Order order) {
  std::visit([this](auto&& message) { accept(std::forward<decltype(message)>(message)); }, std::move(order));
}

void Worker::accept(schema::Assign assign) {
  if (draining_) return link_->decline(assign.lease);
  std::shared_ptr<const Plan> plan = plans_.plan_for(assign.plan, assign.min_quality);
  const std::int64_t longest = engine_->longest(*plan);
  maker_.add(std::move(assign), std::move(plan), longest);
}

void Worker::begin(RequestMaker::Made made) {
  const schema::Assign& assign = made.assign;
  // A document that was cut to a plan's room may fit no other.
  const bool cut = made.requests && (made.requests->cut_tokens() > 0 || made.requests->document_parts() > 0);
  const std::shared_ptr<const Plan> plan = cut ? made.plan : plans_.plan_for(assign.plan, assign.min_quality);
  if (!made.requests) {
    schema::WorkerResult failed;
    failed.lease = assign.lease;
    return reject(std::move(failed), *plan, made.requests.error());
  }
  process::log_job(assign.lease.job, assign.lease.attempt,
                   fmt::format("{} accepted, plan {}{}", schema::to_string(assign.spec.task), plan->number(),
                               handling(*made.requests)));
  jobs_.emplace_back(assign.lease, *std::move(made.requests), plan).text = std::move(made.text);
  mind(std::prev(jobs_.end()));
}

Status Worker::feed(Jobs::iterator job, schema::WorkerResult& needs) {
  while (job->under_way.size() < kRequestsAtOnce) {
    auto request = job->requests.next(next_id_);
    if (!request) return request.error();
    if (!*request) break;
    (*request)->plan = job->plan;
    const RequestNeeds needed = engine_->needs(**request);
    Status added = engine_->add(**std::move(request));
    if (!added) {
      // A larger worker may not have this error.
      const CachePool& caches = engine_->caches();
      if (needed.context > model_.weights->config.context) {
        needs.needs_context = static_cast<std::uint32_t>(needed.context);
      } else if (needed.cache_bytes > static_cast<std::size_t>(caches.total_pages()) * caches.page_bytes()) {
        needs.needs_cache_bytes = needed.cache_bytes;
      }
      return added;
    }
    job->under_way.try_emplace(next_id_);
    requests_.emplace(next_id_++, job);
  }
  return ok_status();
}

void Worker::mind(Jobs::iterator job) {
  if (job->failure) {
    const std::shared_ptr<const Plan> plan = job->plan;
    const Error error = *job->failure;
    const schema::JobId id = job->lease.job;
    fail(job, error);  // before the plans: it says why they are others
    return plan->number() > 0 ? withdraw(*plan, error) : doubt_weights(id, error);
  }
  if (job->requests.done()) return finish(job);
  schema::WorkerResult needs;
  const Status fed = feed(job, needs);
  if (!fed) fail(job, fed.error(), needs);
}

void Worker::forget(Jobs::iterator job) {
  for (const auto& [id, progress] : job->under_way) {
    engine_->cancel(id);
    requests_.erase(id);
  }
  jobs_.erase(job);
}

void Worker::accept(const schema::CancelLease& cancel) {
  if (maker_.forget(cancel.lease)) {
    return process::log_job(cancel.lease.job, cancel.lease.attempt, "revoked: " + cancel.reason);
  }
  const auto job = std::ranges::find(jobs_, cancel.lease, &RunningJob::lease);
  if (job == jobs_.end()) return;
  process::log_job(cancel.lease.job, cancel.lease.attempt, "revoked: " + cancel.reason);
  forget(job);
}

void Worker::accept(const schema::SetWorkerPlan& change) {
  const int largest = plans_.plans().largest();
  schema::PlanResult result = plans_.change(change);
  if (result.error) {
    spdlog::warn("plan {} refused: {}", change.plan, result.error->message);
  } else if (result.generation > change.generation) {
    spdlog::info("plan {} stays: it was asked for after plan {}", result.plan, change.plan);
  } else {
    spdlog::info("plan {} from now on ({}); {} layers changed", result.plan, change.reason,
                 result.changes.size());
  }
  link_->answer(result);
  if (plans_.plans().largest() != largest) link_->report_plans(plans_.table());
}

void Worker::replace_chain(LoadedChain chain) {
  const std::shared_ptr<const Plan> old = plans_.in_force();
  const Status replaced = plans_.replace(std::move(chain));
  if (!replaced) {
    spdlog::warn("{}", replaced.error().message);
    link_->report_plans(plans_.table());
    return;
  }
  link_->report_plans(plans_.table());
  if (plans_.in_force() == old) {
    spdlog::info("the conversion chain that serves lies in its place again: edition {}", plans_.edition());
    return;
  }
  const int now = plans_.in_force()->number();
  spdlog::info("another conversion chain for new jobs: edition {}, plans up to {}", plans_.edition(),
               plans_.plans().largest());
  if (now != old->number())
    spdlog::warn("plan {} from now on: the new chain has no plan {}", now, old->number());
}

void Worker::mind_idle_work() {
  idle_->busy(held() > 0 || draining_);
  const std::vector<LayerNews> news = idle_->news();
  if (news.empty()) return;
  for (const LayerNews& layer : news) plans_.mark(layer);
  link_->report_plans(plans_.table());
}

void Worker::reject(schema::WorkerResult result, const Plan& plan, const Error& error) {
  process::log_job(result.lease.job, result.lease.attempt, "failed: " + error.message);
  result.error = error;
  describe(plan, result.metrics);
  link_->finish(std::move(result));
}

void Worker::report_room() {
  schema::Room report;
  if (engine_->counters().begun != begun_) {
    begun_ = engine_->counters().begun;
    for (const auto& [id, job] : requests_) {
      if (job->begun || !engine_->begun(id)) continue;
      job->begun = true;
      report.begun.push_back(job->lease);
    }
  }
  if (!draining_) {
    const auto begun = std::ranges::count_if(jobs_, &RunningJob::begun);
    report.room = room_of(*engine_, *plans_.in_force(), limits_.capacity, static_cast<std::uint32_t>(begun));
  }
  if (report.begun.empty() && report.room == room_) return;
  room_ = report.room;
  link_->report_room(std::move(report));
}

bool Worker::on_token(RequestId id, int tail, std::int32_t token) {
  return requests_.at(id)->requests.add_token(id, tail, token);
}

void Worker::on_answer(RequestId id, int tail, AnswerEnd end, double mean_log_p) {
  requests_.at(id)->requests.end_answer(id, tail, end, mean_log_p);
}

void Worker::on_progress(RequestId id, const RequestProgress& progress) {
  RunningJob& job = *requests_.at(id);
  job.note(id, progress);
  const RequestProgress all = job.progress();
  const bool prefill = progress.output_tokens == 0;
  link_->report_progress(
      job.lease, {prefill ? schema::Phase::kPrefill : schema::Phase::kDecode,
                  static_cast<std::uint64_t>(all.prompt_done), static_cast<std::uint64_t>(all.prompt_total),
                  static_cast<std::uint64_t>(all.output_tokens)});
}

void Worker::on_done(RequestId id, const RequestProgress& progress, const RequestTimes& times) {
  const auto request = requests_.extract(id);
  request.mapped()->end(id, progress, times);
}

void Worker::on_failed(RequestId id, const RequestProgress& progress, const RequestTimes& times,
                       const Error& error) {
  const auto request = requests_.extract(id);
  request.mapped()->end(id, progress, times);
  request.mapped()->failure = error;
}

void Worker::finish(Jobs::iterator job) {
  schema::WorkerResult result = result_of(*job);
  result.outputs = job->requests.outputs();
  process::log_job(
      result.lease.job, result.lease.attempt,
      fmt::format("done: {} prompt ({} reused) and {} output tokens, plan {}", result.metrics.prompt_tokens,
                  result.metrics.reused_tokens, result.metrics.output_tokens, result.metrics.plan));
  if (job->plan->number() == 0) failed_on_plan_0_.clear();
  std::string text = std::move(job->text);
  forget(job);
  link_->finish(std::move(result));
  if (idle_) idle_->keep(std::move(text));
}

void Worker::fail(Jobs::iterator job, const Error& error, const schema::WorkerResult& needs) {
  schema::WorkerResult result = result_of(*job);
  result.error = error;
  result.needs_context = needs.needs_context;
  result.needs_cache_bytes = needs.needs_cache_bytes;
  process::log_job(result.lease.job, result.lease.attempt, "failed: " + error.message);
  forget(job);
  link_->finish(std::move(result));
}

void Worker::withdraw(const Plan& plan, const Error& error) {
  if (!plans_.withdraw(plan, error.message)) return;  // a job that was begun before
  spdlog::error(
      "plans from {} on are out of use until the chain is replaced; new jobs get plan {} at most: {}",
      plan.number(), plans_.plans().largest(), error.message);
  link_->report_plans(plans_.table());
}

void Worker::doubt_weights(schema::JobId job, const Error& error) {
  failed_on_plan_0_.insert(job);
  spdlog::error("{} ({} of {} jobs in a row after which this worker stops)", error.message,
                failed_on_plan_0_.size(), kFailuresOnPlan0);
  if (failed_on_plan_0_.size() < kFailuresOnPlan0) return;
  broken_ = error.with_context(
      fmt::format("the worker stops: {} jobs in a row have failed on plan 0", kFailuresOnPlan0));
}

void Worker::retire() {
  if (draining_) return;
  draining_ = true;
  spdlog::info("retiring: {} jobs are finished, then this worker ends", held());
  link_->take_nothing_new();
}

void Worker::begin_drain(const char* why) {
  if (drain_deadline_) return;
  draining_ = true;
  drain_deadline_ = Clock::now() + limits_.drain_time;
  spdlog::info("draining ({}): {} jobs may take up to {} s", why, held(), limits_.drain_time.count());
  manager_.stopping();
  manager_.extend_timeout(limits_.drain_time + std::chrono::seconds{10});
  link_->take_nothing_new();
}

bool Worker::drained() const {
  if (stops_ > 1 || (drain_deadline_ && Clock::now() >= *drain_deadline_)) return true;
  return held() == 0 && link_->unacknowledged() == 0;
}

void Worker::report(bool idle) {
  manager_.progress();
  if (rates_.update(engine_->counters(), Clock::now()) || idle)
    link_->report_stats(stats_of(*engine_, rates_));
  const char* state = draining_ ? "draining" : idle ? "idle" : "running";
  manager_.status(fmt::format("{}: {} jobs, plan {}{}", state, held(), plans_.in_force()->number(),
                              link_->welcomed() ? "" : ", waiting for the daemon"));
}

}  // namespace dslad::worker
