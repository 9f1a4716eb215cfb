// Workers coming, reporting and leaving; the rest of Dispatcher is in assignment.cc, idling.cc, planning.cc
// and policing.cc.
#include "daemon/dispatch/dispatcher.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <utility>

#include "schema/codec.h"
#include "schema/process/log.h"

namespace dslad::daemon {
namespace {

// When the daemon itself stood still for longer than this, workers' heartbeats may lie unread: their leases
// are extended by the time it stood.
constexpr std::int64_t kStoodStillMs = 1'000;

// What a clock that is merely kept in step may be off before deadlines follow it.
constexpr std::int64_t kClockJumpMs = 1'000;

bool same(const schema::Progress& a, const schema::Progress& b) {
  return a.phase == b.phase && a.prompt_done == b.prompt_done && a.prompt_total == b.prompt_total &&
         a.tokens_out == b.tokens_out;
}

}  // namespace

using schema::Lease;

Dispatcher::Dispatcher(const DispatchConfig& config, const Clock& clock, Executor& store, Outbox& workers,
                       Feed& feed)
    : config_(config),
      clock_(clock),
      store_(store),
      workers_(workers),
      feed_(feed),
      durable_(store),
      planner_(
          clock, store, table_, config.policy,
          {[this](const schema::PolicyChange& change) { policy_changed(change); }, [this] { fill_all(); }}),
      busy_at_(clock.steady_ms()) {}

void Dispatcher::expect_back(const std::vector<HeldLease>& held) {
  for (const HeldLease& one : held) {
    WorkerState& worker = table_.add(one.worker.instance);
    worker.hello.name = one.worker.name;
    worker.hello.instance = one.worker.instance;
    worker.last_seen_ms = clock_.steady_ms();
    HeldJob& job = worker.jobs[one.lease.job];
    job = {one.lease.attempt, lease_end(), {}};
    job.job.rerun = one.rerun;
    job.job.suspect = one.suspect;
  }
}

void Dispatcher::on_hello(const std::string& peer, std::uint64_t request_id, schema::Hello hello) {
  count_plans_from(hello.generation);  // set by a daemon that died before it could store it
  WorkerState& worker = admit(peer, hello);
  send(peer, schema::Welcome{config_.lease_ms, config_.heartbeat_ms}, request_id);
  reconcile_leases(worker, hello.leases);
  recall_costs(worker);
  announce(worker);
  fill_all();
}

WorkerState& Dispatcher::admit(const std::string& peer, const schema::Hello& hello) {
  WorkerState* other = table_.by_peer(peer);
  if (other != nullptr && other->hello.instance != hello.instance) other->peer.clear();
  WorkerState& worker = table_.add(hello.instance);
  if (!worker.connected()) {
    process::log_info(process::kWorkerConnected, "worker connected",
                      {{"WORKER", hello.name}, {"MODEL", hello.model}, {"DEVICE", hello.device}});
    tell_worker(schema::kTopicWorkerUp, hello.name, "");
  }
  worker.peer = peer;
  worker.hello = hello;
  worker.hello.leases.clear();
  worker.asked_plan.reset();
  worker.idle_told = false;
  planner_.look_again();
  worker.last_seen_ms = clock_.steady_ms();
  return worker;
}

// Leases that both sides know go on; what only the worker holds it must stop. What only we gave it was lost,
// or is on its way while the hello was on its own: it is sent again, and a worker that has it takes no
// notice.
void Dispatcher::reconcile_leases(WorkerState& worker, const std::vector<Lease>& held) {
  for (const Lease& lease : held) {
    if (worker.holds(lease)) {
      worker.jobs[lease.job].deadline_ms = lease_end();
    } else {
      send(worker.peer, schema::Revoke{lease, "the lease has ended"});
    }
  }
  std::vector<Lease> missing;
  for (const auto& [job, state] : worker.jobs) {
    const Lease lease{job, state.attempt};
    if (std::find(held.begin(), held.end(), lease) == held.end()) missing.push_back(lease);
  }
  for (const Lease& lease : missing) {
    if (worker.hello.capacity > 0) {
      assign_again(lease, worker.hello.instance);
    } else {  // it stops, and has declined
      worker.jobs.erase(lease.job);
      end_lease(lease, LeaseEnd::kGivenBack, fmt::format("worker {} takes nothing new", worker.hello.name));
    }
  }
}

void Dispatcher::assign_again(const Lease& lease, const std::string& instance) {
  store_.post<schema::JobSpec>(
      [job = lease.job](Database& db) { return read_spec(db, job); },
      [this, lease, instance](Result<schema::JobSpec> spec) {
        WorkerState* worker = table_.by_instance(instance);
        if (worker == nullptr || !worker->holds(lease)) return;
        HeldJob& held = worker->jobs[lease.job];
        held.deadline_ms = lease_end();
        if (spec && worker->connected() &&
            send(worker->peer, schema::Assign{lease, std::move(spec).value(), held.plan}))
          return;
        worker->jobs.erase(lease.job);
        end_lease(lease, LeaseEnd::kGivenBack, fmt::format("worker {} did not get it", worker->hello.name));
      });
}

// What is known of workers' speed is in the records of the jobs that they ran.
void Dispatcher::recall_costs(const WorkerState& worker) {
  constexpr std::uint32_t kLatest = 200;
  if (planner_.knows(worker)) return;
  store_.post<std::vector<WorkDone>>(
      [digest = worker.hello.model_digest, edition = worker.hello.edition](Database& db) {
        return latest_work(db, digest, edition, kLatest);
      },
      [this, instance = worker.hello.instance](const Result<std::vector<WorkDone>>& done) {
        const WorkerState* state = table_.by_instance(instance);
        if (state != nullptr && done) planner_.recall(*state, *done);  // an error: new jobs teach it
      });
}

void Dispatcher::announce(WorkerState& worker) {
  worker.announced_more = std::exchange(worker.announcing, true);
  if (worker.announced_more) return;
  const schema::Hello hello = worker.hello;
  const std::int64_t now_ms = clock_.wall_ms();
  durable_.post<std::optional<WantedPlan>>(
      [hello, now_ms, fault = std::exchange(worker.fault, "")](Database& db) {
        return announce_model(db, hello, now_ms, fault);
      },
      [this, instance = hello.instance](Result<std::optional<WantedPlan>> wanted) {
        WorkerState* const state = table_.by_instance(instance);
        if (state != nullptr) state->announcing = false;
        if (!wanted) {
          process::log_error(fmt::format("cannot record a worker's model: {}", wanted.error().message));
        } else {
          bring_to_latest(*wanted, instance);
        }
        if (state != nullptr && state->announced_more) announce(*state);
      });
}

void Dispatcher::on_heartbeat(const std::string& peer, const schema::Heartbeat& heartbeat) {
  WorkerState* worker = table_.by_peer(peer);
  if (worker == nullptr) {
    send(peer, schema::WhoAreYou{});
    return;
  }
  worker->last_seen_ms = clock_.steady_ms();
  worker->engine = heartbeat.engine;
  if (heartbeat.room) worker->hello.room = heartbeat.room;
  for (const schema::LeaseProgress& one : heartbeat.leases) {
    if (!worker->holds(one.lease)) {
      send(peer, schema::Revoke{one.lease, "the lease has ended"});
      continue;
    }
    HeldJob& job = worker->jobs[one.lease.job];
    job.deadline_ms = lease_end();
    if (one.progress.phase != schema::Phase::kWaiting) job.begun = true;
    if (same(job.progress, one.progress)) continue;
    job.progress = one.progress;
    if (!job.job.rerun) tell_progress(one, *worker);
  }
  send(peer, schema::HeartbeatAck{});
  fill_all();
}

void Dispatcher::on_room(const std::string& peer, const schema::Room& room) {
  WorkerState* worker = table_.by_peer(peer);
  if (worker == nullptr) {
    send(peer, schema::WhoAreYou{});
    return;
  }
  worker->last_seen_ms = clock_.steady_ms();
  worker->hello.room = room.room;
  for (const Lease& lease : room.begun) {
    if (worker->holds(lease)) worker->jobs[lease.job].begun = true;
  }
  fill_all();
}

void Dispatcher::on_plans(const std::string& peer, schema::PlanTable table) {
  WorkerState* worker = table_.by_peer(peer);
  if (worker == nullptr) {
    send(peer, schema::WhoAreYou{});
    return;
  }
  worker->last_seen_ms = clock_.steady_ms();
  worker->hello.edition = std::move(table.edition);
  worker->hello.plans = std::move(table.plans);
  worker->hello.plan = table.plan;
  worker->hello.layer_info = std::move(table.layer_info);
  planner_.look_again();
  announce(*worker);
}

void Dispatcher::on_goodbye(const std::string& peer, const schema::Goodbye& goodbye) {
  const WorkerState* worker = table_.by_peer(peer);
  if (worker == nullptr) return;
  std::string why = goodbye.reason.empty() ? "it said goodbye" : goodbye.reason;
  if (goodbye.error) why = goodbye.error->message;
  drop_worker(worker->hello.instance, goodbye.error.has_value(),
              fmt::format("worker {} left: {}", worker->hello.name, why));
}

// Of a worker that broke. Alone there, a job has failed; of several nobody knows which it was, so each runs
// alone from now on and has lost nothing. Not even that a job had not begun clears it: it may have broken the
// worker when it was read, and what a worker says last is lost with it. One whose result is being stored has
// ended before.
LeaseEnd Dispatcher::blame(const WorkerState& worker, const HeldJob& job) {
  if (job.storing) return LeaseEnd::kGivenBack;
  const auto suspects = std::count_if(worker.jobs.begin(), worker.jobs.end(),
                                      [](const auto& entry) { return !entry.second.storing; });
  return suspects == 1 ? LeaseEnd::kLost : LeaseEnd::kSuspected;
}

// By value: `instance` may be the one in the worker's own record, which goes away.
// NOLINTNEXTLINE(performance-unnecessary-value-param)
void Dispatcher::drop_worker(std::string instance, bool broke, const std::string& why) {
  const WorkerState worker = table_.remove(instance);
  process::log_info(process::kWorkerGone, "worker gone", {{"WORKER", worker.hello.name}, {"REASON", why}});
  if (worker.connected()) tell_worker(schema::kTopicWorkerDown, worker.hello.name, why);
  plan_changes_.worker_left(instance, why);
  planner_.look_again();
  const std::int64_t now_ms = clock_.wall_ms();
  durable_.post<std::monostate>(
      [instance, now_ms](Database& db) { return worker_gone(db, instance, now_ms); }, [](const Status&) {});
  for (const auto& [job, state] : worker.jobs)
    end_lease({job, state.attempt}, broke ? blame(worker, state) : LeaseEnd::kGivenBack, why);
}

void Dispatcher::tick() {
  const std::int64_t now_ms = clock_.steady_ms();
  if (last_tick_ms_ != 0 && now_ms - last_tick_ms_ > kStoodStillMs) table_.extend_all(now_ms - last_tick_ms_);
  last_tick_ms_ = now_ms;
  follow_wall_clock();
  // First the silent workers, or an ended lease would go to one of them again.
  for (const std::string& instance : table_.silent_since(now_ms - config_.lease_ms)) {
    drop_worker(instance, true, fmt::format("not heard of for {} ms", config_.lease_ms));
  }
  for (const Lease& lease : table_.take_expired(now_ms)) {
    end_lease(lease, LeaseEnd::kLost, fmt::format("the worker was not heard of for {} ms", config_.lease_ms));
  }
  if (now_ms >= next_second_ms_) {
    next_second_ms_ = now_ms + 1'000;
    follow_time();
    durable_.retry();
    for (WorkerState* worker : table_.connected()) worker->waits_to_be_alone = false;  // they ask again
    follow_policy();
    fill_all();
  }
  planner_.tick();
  follow_idleness();
  plan_changes_.tick(now_ms);
}

// Deadlines are stored by the wall clock and promised by the steady one.
void Dispatcher::follow_wall_clock() {
  const std::int64_t offset_ms = clock_.wall_ms() - clock_.steady_ms();
  const std::int64_t jump_ms = offset_ms - wall_offset_ms_.value_or(offset_ms);
  if (wall_offset_ms_ && std::abs(jump_ms) < kClockJumpMs) return;
  wall_offset_ms_ = offset_ms;
  if (jump_ms == 0) return;
  process::log_warning(fmt::format(
      "the system's clock jumped by {} ms; the times of jobs that have not ended move with it", jump_ms));
  turns_.shift(jump_ms);
  durable_.post<std::monostate>([jump_ms](Database& db) { return shift_open_jobs(db, jump_ms); },
                                [](const Status&) {});
}

schema::Progress Dispatcher::progress(schema::JobId job) const {
  const WorkerState* worker = table_.by_job(job);
  return worker == nullptr ? schema::Progress{} : worker->jobs.at(job).progress;
}

void Dispatcher::tell_progress(const schema::LeaseProgress& progress, const WorkerState& worker) {
  schema::Event event;
  event.topic = schema::kTopicJobProgress;
  event.job = progress.lease.job;
  event.attempt = progress.lease.attempt;
  event.progress = progress.progress;
  event.worker = worker.hello.name;
  feed_.tell(std::move(event));
}

void Dispatcher::tell_worker(const char* topic, const std::string& name, const std::string& reason) {
  schema::Event event;
  event.topic = topic;
  event.worker = name;
  if (!reason.empty()) event.reason = reason;
  feed_.tell(std::move(event));
}

}  // namespace dslad::daemon
