#include "daemon/dispatch/registry.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <utility>

#include "base/process/log.h"

namespace dslad::daemon {
namespace {

bool same(const schema::Progress& a, const schema::Progress& b) {
  return a.phase == b.phase && a.prompt_done == b.prompt_done && a.prompt_total == b.prompt_total &&
         a.tokens_out == b.tokens_out;
}

}  // namespace

using schema::Lease;

Registry::Registry(const Surroundings& around, Planner& planner, Plans& plans, OpenLeases& leases,
                   const schema::Welcome& welcome)
    : around_(around), planner_(planner), plans_(plans), leases_(leases), welcome_(welcome) {}

WorkerState* Registry::heard(const std::string& peer) {
  WorkerState* worker = around_.table.by_peer(peer);
  if (worker == nullptr) {
    around_.send(peer, schema::WhoAreYou{});
  } else {
    worker->last_seen_ms = around_.clock.steady_ms();
  }
  return worker;
}

void Registry::on_hello(const std::string& peer, std::uint64_t request_id, const schema::Hello& hello) {
  plans_.count_from(hello.generation);  // set by a daemon that died before it could store it
  WorkerState& worker = admit(peer, hello);
  around_.send(peer, welcome_, request_id);
  reconcile_leases(worker, hello.leases);
  recall_costs(worker);
  plans_.announce(worker);
}

WorkerState& Registry::admit(const std::string& peer, const schema::Hello& hello) {
  WorkerState* other = around_.table.by_peer(peer);
  if (other != nullptr && other->hello.instance != hello.instance) other->peer.clear();
  WorkerState& worker = around_.table.add(hello.instance);
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
  worker.last_seen_ms = around_.clock.steady_ms();
  return worker;
}

// Leases that both sides know go on; what only the worker holds it must stop. What only we gave it was lost,
// or is on its way while the hello was on its own: it is sent again, and a worker that has it takes no
// notice.
void Registry::reconcile_leases(WorkerState& worker, const std::vector<Lease>& held) {
  for (const Lease& lease : held) {
    if (worker.holds(lease)) {
      leases_.renew(worker.jobs[lease.job]);
    } else {
      around_.send(worker.peer, schema::CancelLease{lease, "the lease has ended"});
    }
  }
  std::vector<Lease> missing;
  for (const auto& [job, state] : worker.jobs) {
    const Lease lease{job, state.attempt};
    if (std::find(held.begin(), held.end(), lease) == held.end()) missing.push_back(lease);
  }
  for (const Lease& lease : missing) {
    if (worker.hello.capacity > 0) {
      leases_.hand_over_again(lease, worker.hello.instance);
    } else {  // it stops, and has declined
      leases_.give_back(worker, lease, fmt::format("worker {} takes nothing new", worker.hello.name));
    }
  }
}

// What is known of workers' speed is in the records of the jobs that they ran.
void Registry::recall_costs(const WorkerState& worker) {
  constexpr std::uint32_t kLatest = 200;
  if (planner_.knows(worker)) return;
  around_.store.post(Work(latest_work, worker.hello.model_digest, worker.hello.edition, kLatest),
                     [this, instance = worker.hello.instance](const Result<std::vector<WorkDone>>& done) {
                       const WorkerState* state = around_.table.by_instance(instance);
                       if (state != nullptr && done)
                         planner_.recall(*state, *done);  // an error: new jobs teach it
                     });
}

void Registry::on_heartbeat(WorkerState& worker, const schema::Heartbeat& heartbeat) {
  worker.engine = heartbeat.engine;
  if (heartbeat.room) worker.hello.room = heartbeat.room;
  std::vector<Lease> begun;
  for (const schema::LeaseProgress& one : heartbeat.leases) {
    if (!worker.holds(one.lease)) {
      around_.send(worker.peer, schema::CancelLease{one.lease, "the lease has ended"});
      continue;
    }
    HeldJob& job = worker.jobs[one.lease.job];
    leases_.renew(job);
    if (one.progress.phase != schema::Phase::kWaiting) begun.push_back(one.lease);
    if (same(job.progress, one.progress)) continue;
    job.progress = one.progress;
    if (!job.job.rerun) tell_progress(one, worker);
  }
  leases_.begun(worker, begun);
  around_.send(worker.peer, schema::HeartbeatAck{});
}

void Registry::on_room(WorkerState& worker, const schema::Room& room) {
  worker.hello.room = room.room;
  std::vector<Lease> begun;
  std::ranges::copy_if(room.begun, std::back_inserter(begun),
                       [&](const Lease& lease) { return worker.holds(lease); });
  leases_.begun(worker, begun);
}

void Registry::on_plans(WorkerState& worker, schema::PlanTable table) {
  worker.hello.edition = std::move(table.edition);
  worker.hello.plans = std::move(table.plans);
  worker.hello.plan = table.plan;
  worker.hello.layer_info = std::move(table.layer_info);
  worker.hello.chain_fault = std::move(table.chain_fault);
  planner_.look_again();
  plans_.announce(worker);
}

void Registry::on_goodbye(const std::string& peer, const schema::Goodbye& goodbye) {
  const WorkerState* worker = around_.table.by_peer(peer);
  if (worker == nullptr) return;
  std::string why = goodbye.reason.empty() ? "it said goodbye" : goodbye.reason;
  if (goodbye.error) why = goodbye.error->message;
  drop(worker->hello.instance, goodbye.error.has_value(),
       fmt::format("worker {} left: {}", worker->hello.name, why));
}

void Registry::drop_silent() {
  const std::int64_t before_ms = around_.clock.steady_ms() - welcome_.lease_ms;
  for (const std::string& instance : around_.table.silent_since(before_ms))
    drop(instance, true, fmt::format("not heard of for {} ms", welcome_.lease_ms));
}

// By value: `instance` may be the one in the worker's own record, which goes away.
// NOLINTNEXTLINE(performance-unnecessary-value-param)
void Registry::drop(std::string instance, bool broke, const std::string& why) {
  const WorkerState worker = around_.table.remove(instance);
  process::log_info(process::kWorkerGone, "worker gone", {{"WORKER", worker.hello.name}, {"REASON", why}});
  if (worker.connected()) tell_worker(schema::kTopicWorkerDown, worker.hello.name, why);
  plans_.worker_left(instance, why);
  planner_.look_again();
  around_.durable.post(Work(worker_gone, instance, around_.clock.wall_ms()), [](const Status&) {});
  leases_.worker_left(worker, broke, why);
}

void Registry::tell_progress(const schema::LeaseProgress& progress, const WorkerState& worker) {
  schema::Event event;
  event.topic = schema::kTopicJobProgress;
  event.job = progress.lease.job;
  event.attempt = progress.lease.attempt;
  event.progress = progress.progress;
  event.worker = worker.hello.name;
  around_.feed.tell(std::move(event));
}

void Registry::tell_worker(const char* topic, const std::string& name, const std::string& reason) {
  schema::Event event;
  event.topic = topic;
  event.worker = name;
  if (!reason.empty()) event.reason = reason;
  around_.feed.tell(std::move(event));
}

}  // namespace dslad::daemon
