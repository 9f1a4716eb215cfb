// The part of Dispatcher that moves jobs: claims, results, leases that end.
#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <utility>

#include "daemon/dispatch/dispatcher.h"
#include "daemon/store/settings.h"
#include "schema/process/log.h"

namespace dslad::daemon {
namespace {

constexpr std::uint32_t kMaxClaim = 64;  // bounds what one claim holds in memory

}  // namespace

using schema::JobState;
using schema::Lease;

void Dispatcher::jobs_queued() {
  ++queued_seen_;
  busy_at_ = clock_.steady_ms();
  stop_idle_work("jobs have come");
  planner_.look_again();
  fill_all();
}

// One claim a worker is under way at a time. Alone, a worker is filled in one go; among others, each takes
// one job after the other, so that a short queue spreads over all of them.
void Dispatcher::fill_all() {
  if (!assigning_ || mode_ == schema::QueueMode::kPaused || planner_.deciding()) return;
  const std::vector<WorkerState*> workers = table_.connected();
  for (WorkerState* worker : workers) {
    const std::uint32_t free = worker->free_slots();
    if (free == 0 || worker->claiming > 0 || worker->emptied_at == queued_seen_) continue;
    claim_for(*worker, workers.size() == 1 ? std::min(free, kMaxClaim) : 1);
  }
}

Claimant Dispatcher::claimant_of(const WorkerState& worker) {
  return {{worker.hello.name, worker.hello.instance},
          worker.hello.model,
          worker.hello.model_digest,
          worker.hello.context,
          worker.hello.cache_bytes,
          worker.jobs.empty(),
          worker.documents};
}

void Dispatcher::claim_for(WorkerState& worker, std::uint32_t count) {
  worker.claiming = count;
  const Claimant claimant = claimant_of(worker);
  const std::int64_t now_ms = clock_.wall_ms();
  const auto damaged = std::make_shared<std::optional<Unreadable>>();
  store_.post<Claim>(
      [claimant, count, now_ms, damaged, choose = planner_.chooser(worker)](Database& db) {
        return claim(db, claimant, count, now_ms, choose, damaged.get());
      },
      [this, damaged, instance = claimant.worker.instance, seen = queued_seen_](Result<Claim> claim) {
        if (WorkerState* state = table_.by_instance(instance); state != nullptr) state->claiming = 0;
        if (claim) return claimed(instance, std::move(claim).value(), seen);
        if (*damaged) return fail_damaged(**damaged);
        // Nothing was leased; tick() tries again.
        claims_failed_.warning(fmt::format("cannot give out jobs: {}", claim.error().message),
                               clock_.steady_ms());
      });
}

void Dispatcher::claimed(const std::string& instance, Claim claim, std::uint64_t seen) {
  for (const Unreadable& one : claim.unreadable) {
    process::log_error(process::kJobUnreadable, "a job cannot be read, so it has failed",
                       {{"JOB_ID", std::to_string(one.job)}, {"ERROR", one.error.message}});
    feed_.tell_state(one.job, JobState::kFailed, one.error);
  }
  if (WorkerState* state = table_.by_instance(instance); state != nullptr) {
    if (claim.queue_empty) state->emptied_at = seen;
    state->waits_to_be_alone = claim.suspect_waits;
  }
  assign(instance, std::move(claim.jobs));
  fill_all();
}

void Dispatcher::fail_damaged(const Unreadable& damaged) {
  process::log_error(process::kJobUnreadable,
                     "a job lies on a damaged page of the database, so it has failed",
                     {{"JOB_ID", std::to_string(damaged.job)}, {"ERROR", damaged.error.message}});
  durable_.post<bool>(
      [damaged, now_ms = clock_.wall_ms()](Database& db) {
        return daemon::fail_damaged(db, damaged, now_ms);
      },
      [this, damaged](const Result<bool>& failed) {
        if (!failed) {
          claims_failed_.warning(fmt::format("cannot end a damaged job: {}", failed.error().message),
                                 clock_.steady_ms());
          return;
        }
        if (*failed) feed_.tell_state(damaged.job, JobState::kFailed, damaged.error);
        ++reruns_seen_;
        fill_all();
      });
}

void Dispatcher::assign(const std::string& instance, std::vector<Claimed> claimed) {
  WorkerState* worker = table_.by_instance(instance);
  for (Claimed& one : claimed) {
    if (worker == nullptr || !worker->connected()) {
      end_lease(one.lease, LeaseEnd::kGivenBack, "its worker left before it got the job");
      continue;
    }
    if (!send(worker->peer, schema::Assign{one.lease, std::move(one.spec), one.choice.plan})) {
      worker->peer.clear();  // nothing more goes to it until it says hello again
      end_lease(one.lease, LeaseEnd::kGivenBack,
                fmt::format("worker {} could not be reached", worker->hello.name));
      continue;
    }
    HeldJob& held = worker->jobs[one.lease.job];
    held = {one.lease.attempt, lease_end(), {}};
    held.job = std::move(one.job);
    held.plan = one.choice.plan;
    worker->note_document(held.job.document);
    if (held.job.rerun) continue;
    if (!held.job.deadline_ms) turns_.served(held.job.due_ms - due_ms(0, 0));
    feed_.measure(
        Measured::kQueueWaitS,
        static_cast<double>(std::max<std::int64_t>(0, clock_.wall_ms() - held.job.created_ms)) / 1'000);
    tell_running(one.lease, *worker);
  }
}

void Dispatcher::on_result(const std::string& peer, schema::WorkerResult result) {
  WorkerState* worker = table_.by_peer(peer);
  if (worker == nullptr) {
    send(peer, schema::WhoAreYou{});
    return;
  }
  worker->last_seen_ms = clock_.steady_ms();
  const Lease lease = result.lease;
  if (!worker->holds(lease)) {  // late, or not its own
    send(peer, schema::ResultAck{lease, false});
    return;
  }
  HeldJob& held = worker->jobs[lease.job];
  held.deadline_ms = lease_end();
  if (std::exchange(held.storing, true)) return;  // said again while the disk takes its time
  if (!result.error) {
    planner_.finished(*worker, held.job, result.metrics);
    feed_.measure(Measured::kPrefillS, result.metrics.prefill_ms / 1'000);
    feed_.measure(Measured::kDecodeS, result.metrics.decode_ms / 1'000);
    feed_.measure(Measured::kPromptTokens, static_cast<double>(result.metrics.prompt_tokens));
    feed_.measure(Measured::kOutputTokens, static_cast<double>(result.metrics.output_tokens));
  }
  if (result.error && result.error->code == ErrorCode::kCorrupt && result.metrics.plan > 0)
    worker->fault = result.error->message;
  const auto shared = std::make_shared<const schema::WorkerResult>(std::move(result));
  const std::int64_t now_ms = clock_.wall_ms();
  const FinishRules rules{fits_elsewhere(*shared, *worker), planner_.settings().idle.canary_share,
                          config_.retry};
  durable_.post<Outcome>([shared, now_ms, rules](Database& db) { return finish(db, *shared, now_ms, rules); },
                         [this, lease, instance = worker->hello.instance](Result<Outcome> outcome) {
                           finished(lease, instance, std::move(outcome));
                         });
}

bool Dispatcher::fits_elsewhere(const schema::WorkerResult& result, const WorkerState& worker) {
  if (!result.error || (result.needs_context == 0 && result.needs_cache_bytes == 0)) return false;
  const auto held = worker.jobs.find(result.lease.job);
  const std::string model = held == worker.jobs.end() ? "" : held->second.job.model;
  const std::vector<WorkerState*> others = table_.connected();
  return std::any_of(others.begin(), others.end(), [&](const WorkerState* other) {
    const schema::Hello& hello = other->hello;
    return other != &worker && hello.capacity > 0 &&
           (model.empty() || model == hello.model || model == hello.model_digest) &&
           hello.context >= result.needs_context && hello.cache_bytes >= result.needs_cache_bytes;
  });
}

void Dispatcher::finished(const Lease& lease, const std::string& instance, Result<Outcome> outcome) {
  if (!outcome) {
    process::log_error("cannot record a result",
                       {{"JOB_ID", std::to_string(lease.job)}, {"ERROR", outcome.error().message}});
    end_lease(lease, LeaseEnd::kLost,
              fmt::format("its result could not be stored: {}", outcome.error().message));
  }
  const bool accepted = outcome.ok() && outcome->accepted;
  if (WorkerState* worker = table_.by_instance(instance); worker != nullptr) {
    if (worker->holds(lease)) worker->jobs.erase(lease.job);
    if (worker->connected()) send(worker->peer, schema::ResultAck{lease, accepted});
  }
  if (accepted) ++reruns_seen_;
  if (accepted && outcome->rerun) {
    recall_agreements();
  } else if (accepted) {
    feed_.tell_state(lease.job, outcome->state, outcome->error);
    if (outcome->state == JobState::kQueued) {
      ++queued_seen_;
      planner_.look_again();
    }
  }
  fill_all();
}

void Dispatcher::end_lease(const Lease& lease, LeaseEnd end, const std::string& why) {
  const std::int64_t now_ms = clock_.wall_ms();
  durable_.post<Outcome>([lease, end, why, now_ms, retry = config_.retry](
                             Database& db) { return release(db, lease, end, why, now_ms, retry); },
                         [this, lease](Result<Outcome> outcome) {
                           if (!outcome) {
                             process::log_error("cannot end a lease", {{"JOB_ID", std::to_string(lease.job)},
                                                                       {"ERROR", outcome.error().message}});
                           } else if (outcome->accepted && outcome->rerun) {
                             ++reruns_seen_;
                           } else if (outcome->accepted) {
                             feed_.tell_state(lease.job, outcome->state, outcome->error);
                             if (outcome->state == JobState::kQueued) jobs_queued();
                           }
                         });
}

void Dispatcher::jobs_ended(const std::vector<Ended>& ended, JobState state) {
  for (const Ended& one : ended) {
    WorkerState* worker = one.lease ? table_.by_job(one.id) : nullptr;
    if (worker != nullptr && worker->holds(*one.lease)) {
      worker->jobs.erase(one.id);
      if (worker->connected())
        send(worker->peer, schema::Revoke{*one.lease, std::string(schema::to_string(state))});
    }
    feed_.tell_state(one.id, state);
  }
  if (!ended.empty()) fill_all();
}

// Jobs whose time is over, and those whose time has come.
void Dispatcher::follow_time() {
  struct Due {
    std::vector<Ended> expired;
    bool woken = false;
  };
  const std::int64_t now_ms = clock_.wall_ms();
  store_.post<Due>(
      [now_ms](Database& db) -> Result<Due> {
        Result<std::vector<Ended>> expired = expire(db, now_ms);
        if (!expired) return expired.error();
        const Result<bool> woken = wake(db, now_ms);
        if (!woken) return woken.error();
        return Due{std::move(expired).value(), *woken};
      },
      [this](const Result<Due>& due) {  // an error: the next second tries again
        if (!due) return;
        jobs_ended(due->expired, JobState::kExpired);
        if (due->woken) jobs_queued();
      });
}

Dispatcher::Turn Dispatcher::take_turn(const std::string& client, const schema::JobRequest& job) {
  if (job.terms.deadline_in_ms > 0) return {};
  const std::int64_t now_ms = clock_.wall_ms();
  const double work_ms = planner_.work_ms(job);
  return {turns_.next(client, work_ms, now_ms) - now_ms, work_ms};
}

void Dispatcher::set_mode(schema::QueueMode mode, std::function<void(const Status&)> done) {
  store_.post<std::monostate>(
      [mode](Database& db) {
        return save_settings(db, {{std::string(kQueueModeSetting), std::string(schema::to_string(mode))}});
      },
      [this, mode, done = std::move(done)](const Status& saved) {
        if (saved && mode_ != mode) {
          process::log_info(fmt::format("the queue is {} now", schema::to_string(mode)));
          mode_ = mode;
          jobs_queued();
        }
        done(saved);
      });
}

void Dispatcher::tell_running(const Lease& lease, const WorkerState& worker) {
  schema::Event event;
  event.topic = schema::kTopicJobState;
  event.job = lease.job;
  event.state = JobState::kRunning;
  event.attempt = lease.attempt;
  event.worker = worker.hello.name;
  feed_.tell(std::move(event));
}

}  // namespace dslad::daemon
