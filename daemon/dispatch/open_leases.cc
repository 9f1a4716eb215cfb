#include "daemon/dispatch/open_leases.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/process/log.h"

namespace dslad::daemon {

using schema::JobState;
using schema::Lease;

OpenLeases::OpenLeases(const Surroundings& around, Planner& planner, std::uint32_t lease_ms,
                       const RetryRules& retry, Listener listener)
    : around_(around),
      planner_(planner),
      lease_ms_(lease_ms),
      retry_(retry),
      listener_(std::move(listener)) {}

void OpenLeases::expect_back(const std::vector<StoredLease>& held) {
  for (const StoredLease& one : held) {
    WorkerState& worker = around_.table.add(one.worker.instance);
    worker.hello.name = one.worker.name;
    worker.hello.instance = one.worker.instance;
    worker.last_seen_ms = around_.clock.steady_ms();
    HeldJob& job = worker.jobs[one.lease.job];
    job = {one.lease.attempt, next_end(), {}};
    job.job.rerun = one.rerun;
    job.job.suspect = one.suspect;
    job.begun = one.begun;
    // Should its worker not have got it, it is handed over again, on the plan that was chosen.
    job.plan = one.plan;
    job.min_quality = one.min_quality;
  }
}

bool OpenLeases::hand_over(const std::string& instance, Claimed claimed) {
  const Lease lease = claimed.lease;
  WorkerState* worker = around_.table.by_instance(instance);
  if (worker == nullptr || !worker->connected()) {
    end(lease, LeaseEnd::kGivenBack, "its worker left before it got the job");
    return false;
  }
  const PlanChoice& choice = claimed.choice;
  if (!around_.send(worker->peer,
                    schema::Assign{lease, std::move(claimed.spec), choice.plan, choice.min_quality})) {
    worker->peer.clear();  // nothing more goes to it until it says hello again
    end(lease, LeaseEnd::kGivenBack, fmt::format("worker {} could not be reached", worker->hello.name));
    return false;
  }
  HeldJob& held = worker->jobs[lease.job];
  held = {lease.attempt, next_end(), {}};
  held.job = std::move(claimed.job);
  held.plan = choice.plan;
  held.min_quality = choice.min_quality;
  worker->documents.given(held.job.document);
  if (held.job.rerun) return true;
  around_.feed.measure(
      Measured::kQueueWaitS,
      static_cast<double>(std::max<std::int64_t>(0, around_.clock.wall_ms() - held.job.created_ms)) / 1'000);
  tell(lease, worker->hello.room ? JobState::kQueued : JobState::kRunning, worker->hello.name);
  return true;
}

void OpenLeases::hand_over_again(const Lease& lease, const std::string& instance) {
  around_.store.post(Work(read_spec, lease.job), [this, lease, instance](Result<schema::JobSpec> spec) {
    WorkerState* worker = around_.table.by_instance(instance);
    if (worker == nullptr || !worker->holds(lease)) return;
    HeldJob& held = worker->jobs[lease.job];
    renew(held);
    if (spec && worker->connected() &&
        around_.send(worker->peer,
                     schema::Assign{lease, std::move(spec).value(), held.plan, held.min_quality}))
      return;
    give_back(*worker, lease, fmt::format("worker {} did not get it", worker->hello.name));
  });
}

void OpenLeases::begun(WorkerState& worker, const std::vector<Lease>& leases) {
  std::vector<Lease> fresh;
  for (const Lease& lease : leases) {
    HeldJob& held = worker.jobs[lease.job];
    if (!std::exchange(held.begun, true) && !held.job.rerun) fresh.push_back(lease);
  }
  if (fresh.empty() || !worker.hello.room)
    return;  // of one that does not tell they run since they are leased
  around_.durable.post(
      Work(begin, fresh, around_.clock.wall_ms()),
      [this, name = worker.hello.name](const Result<std::vector<Lease>>& running) {
        if (!running) {
          process::log_error("cannot record that jobs have begun", {{"ERROR", running.error().message}});
          return;
        }
        for (const Lease& lease : *running) tell(lease, JobState::kRunning, name);
      });
}

void OpenLeases::on_result(WorkerState& worker, schema::WorkerResult result) {
  const Lease lease = result.lease;
  if (!worker.holds(lease)) {  // late, or not its own
    around_.send(worker.peer, schema::ResultAck{lease, false});
    return;
  }
  HeldJob& held = worker.jobs[lease.job];
  renew(held);
  if (std::exchange(held.storing, true)) return;  // said again while the disk takes its time
  if (!result.error) {
    begun(worker, {lease});
    worker.documents.read(held.job.document, result.metrics);
    planner_.finished(worker, held.job, result.metrics);
    around_.feed.measure(Measured::kPrefillS, result.metrics.prefill_ms / 1'000);
    around_.feed.measure(Measured::kDecodeS, result.metrics.decode_ms / 1'000);
    around_.feed.measure(Measured::kPromptTokens, static_cast<double>(result.metrics.prompt_tokens));
    around_.feed.measure(Measured::kOutputTokens, static_cast<double>(result.metrics.output_tokens));
  }
  if (result.error && result.error->code == ErrorCode::kCorrupt && result.metrics.plan > 0)
    worker.fault = result.error->message;
  const Refusal refusal = refused(worker, held.job, result);
  const FinishRules rules{refusal.fits, planner_.settings().idle.canary_share, retry_,
                          worker.hello.room.has_value(), refusal.needs_tokens};
  around_.durable.post(Work(finish, std::move(result), around_.clock.wall_ms(), rules),
                       [this, lease, instance = worker.hello.instance](const Result<Outcome>& outcome) {
                         stored(lease, instance, outcome);
                       });
}

Refusal OpenLeases::refused(const WorkerState& worker, const QueuedJob& job,
                            schema::WorkerResult& result) const {
  if (!result.error || (result.needs_context == 0 && result.needs_cache_bytes == 0)) return {};
  if (job.id == 0) {  // leased before a restart: once more, now that its terms are read with it
    result.needs_context = 0;
    result.needs_cache_bytes = 0;
    return {.fits = true};
  }
  Refusal refusal = planner_.refused(worker, job, result);
  if (!refusal.fits && !refusal.why_not.empty()) result.error->message += "; " + refusal.why_not;
  return refusal;
}

void OpenLeases::stored(const Lease& lease, const std::string& instance, const Result<Outcome>& outcome) {
  if (!outcome) {
    process::log_error("cannot record a result",
                       {{"JOB_ID", std::to_string(lease.job)}, {"ERROR", outcome.error().message}});
    end(lease, LeaseEnd::kLost, fmt::format("its result could not be stored: {}", outcome.error().message));
  }
  const bool accepted = outcome.ok() && outcome->accepted;
  if (WorkerState* worker = around_.table.by_instance(instance); worker != nullptr) {
    if (worker->holds(lease)) worker->jobs.erase(lease.job);
    if (worker->connected()) around_.send(worker->peer, schema::ResultAck{lease, accepted});
  }
  if (accepted) ++ends_;
  if (accepted && outcome->rerun) {
    planner_.recall_agreements();
  } else if (accepted) {
    around_.feed.tell_state(lease.job, outcome->state, outcome->error);
    if (outcome->state == JobState::kQueued) listener_.queued();
  }
  listener_.room();
}

// Of a worker that broke. Alone there, a job has failed; of several nobody knows which it was, so each runs
// alone from now on and has lost nothing. Not even that a job had not begun clears it: it may have broken the
// worker when it was read, and what a worker says last is lost with it. One whose result is being stored has
// ended before.
LeaseEnd OpenLeases::blame(const WorkerState& worker, const HeldJob& job) {
  if (job.storing) return LeaseEnd::kGivenBack;
  const auto suspects = std::count_if(worker.jobs.begin(), worker.jobs.end(),
                                      [](const auto& entry) { return !entry.second.storing; });
  return suspects == 1 ? LeaseEnd::kLost : LeaseEnd::kSuspected;
}

void OpenLeases::worker_left(const WorkerState& worker, bool broke, const std::string& why) {
  for (const auto& [job, held] : worker.jobs)
    end({job, held.attempt}, broke ? blame(worker, held) : LeaseEnd::kGivenBack, why);
}

void OpenLeases::take_back(WorkerState& worker, const Lease& lease, const std::string& why) {
  around_.send(worker.peer, schema::CancelLease{lease, why});
  give_back(worker, lease, why);
}

void OpenLeases::give_back(WorkerState& worker, const Lease& lease, const std::string& why) {
  worker.jobs.erase(lease.job);
  end(lease, LeaseEnd::kGivenBack, why);
}

void OpenLeases::end(const Lease& lease, LeaseEnd end, const std::string& why) {
  around_.durable.post(Work(release, lease, end, why, around_.clock.wall_ms(), retry_),
                       [this, lease](const Result<Outcome>& outcome) { ended(lease, outcome); });
}

void OpenLeases::ended(const Lease& lease, const Result<Outcome>& outcome) {
  if (!outcome) {
    process::log_error("cannot end a lease",
                       {{"JOB_ID", std::to_string(lease.job)}, {"ERROR", outcome.error().message}});
  } else if (outcome->accepted && outcome->rerun) {
    ++ends_;
  } else if (outcome->accepted) {
    around_.feed.tell_state(lease.job, outcome->state, outcome->error);
    if (outcome->state == JobState::kQueued) listener_.queued();
  }
}

void OpenLeases::end_overdue() {
  for (const Lease& lease : around_.table.take_expired(around_.clock.steady_ms()))
    end(lease, LeaseEnd::kLost, fmt::format("the worker was not heard of for {} ms", lease_ms_));
}

void OpenLeases::jobs_ended(const std::vector<Ended>& ended, JobState state) {
  for (const Ended& one : ended) {
    WorkerState* worker = one.lease ? around_.table.by_job(one.id) : nullptr;
    if (worker != nullptr && worker->holds(*one.lease)) {
      worker->jobs.erase(one.id);
      if (worker->connected())
        around_.send(worker->peer, schema::CancelLease{*one.lease, std::string(schema::to_string(state))});
    }
    around_.feed.tell_state(one.id, state);
  }
  if (!ended.empty()) listener_.room();
}

void OpenLeases::unreadable(const std::vector<Unreadable>& jobs) {
  for (const Unreadable& one : jobs) {
    process::log_error(process::kJobUnreadable, "a job cannot be read, so it has failed",
                       {{"JOB_ID", std::to_string(one.job)}, {"ERROR", one.error.message}});
    around_.feed.tell_state(one.job, JobState::kFailed, one.error);
  }
}

void OpenLeases::fail_damaged(const Unreadable& damaged) {
  process::log_error(process::kJobUnreadable,
                     "a job lies on a damaged page of the database, so it has failed",
                     {{"JOB_ID", std::to_string(damaged.job)}, {"ERROR", damaged.error.message}});
  around_.durable.post(Work(daemon::fail_damaged, damaged, around_.clock.wall_ms()),
                       [this, damaged](const Result<bool>& failed) {
                         if (!failed) {
                           not_failed_.warning(
                               fmt::format("cannot end a damaged job: {}", failed.error().message),
                               around_.clock.steady_ms());
                           return;
                         }
                         if (*failed) around_.feed.tell_state(damaged.job, JobState::kFailed, damaged.error);
                         ++ends_;
                         listener_.room();
                       });
}

void OpenLeases::tell(const Lease& lease, JobState state, const std::string& worker) {
  schema::Event event;
  event.topic = schema::kTopicJobState;
  event.job = lease.job;
  event.state = state;
  event.attempt = lease.attempt;
  event.worker = worker;
  around_.feed.tell(std::move(event));
}

}  // namespace dslad::daemon
