#include "daemon/dispatch/plans.h"

#include <fmt/format.h>
#include <utility>

#include "base/process/log.h"

namespace dslad::daemon {

void Plans::ask(const schema::SetPlan& plan, bool of_everybody, const std::vector<WorkerState*>& workers,
                PlanDone done) {
  open({plan, ++generation_, of_everybody}, workers, std::move(done));
}

void Plans::open(const AskedPlan& asked, const std::vector<WorkerState*>& workers, PlanDone done) {
  PlanRequests::Names names;
  for (const WorkerState* worker : workers) names[worker->hello.instance] = worker->hello.name;
  const std::int64_t deadline_ms = around_.clock.steady_ms() + timeout_ms_;
  const std::uint64_t request = requests_.open(asked, std::move(names), deadline_ms, std::move(done));
  for (const WorkerState* worker : workers) send_change(request, asked, *worker);
}

void Plans::send_change(std::uint64_t request, const AskedPlan& asked, const WorkerState& worker) {
  const schema::SetPlan& plan = asked.plan;
  const schema::SetWorkerPlan change{request, plan.plan, plan.allow_undistilled, plan.reason,
                                     asked.generation};
  if (around_.send(worker.peer, change)) return;
  requests_.answered(request, worker.hello.instance, Error{ErrorCode::kUnavailable, "it is gone"});
}

void Plans::announce(WorkerState& worker) {
  worker.announced_more = std::exchange(worker.announcing, true);
  if (worker.announced_more) return;
  around_.durable.post(
      Work(announce_model, worker.hello, around_.clock.wall_ms(), std::exchange(worker.fault, ""),
           planner_.judged(worker)),
      [this, instance = worker.hello.instance](Result<std::optional<WantedPlan>> wanted) {
        WorkerState* const state = around_.table.by_instance(instance);
        if (state != nullptr) state->announcing = false;
        if (!wanted) {
          process::log_error(fmt::format("cannot record a worker's model: {}", wanted.error().message));
        } else {
          bring_to_latest(*wanted, instance);
        }
        if (state != nullptr && state->announced_more) announce(*state);
      });
}

// A worker that joins, or comes back, follows what was asked last: a change that others are still confirming
// before the plan that is stored. One that has taken a newer plan than either stays with it.
void Plans::bring_to_latest(const std::optional<WantedPlan>& stored, const std::string& instance) {
  const std::optional<AskedPlan> open = requests_.newest();
  if (open && (!stored || open->generation > stored->generation)) {
    bring_to(*open, instance, stored);
  } else if (stored) {
    const schema::SetPlan plan{stored->plan, stored->allow_undistilled,
                               "a worker joined; the plan was set before"};
    bring_to({plan, stored->generation, false}, instance, std::nullopt);
  }
}

// `otherwise`: what the worker is brought to where it refuses.
void Plans::bring_to(const AskedPlan& asked, const std::string& instance,
                     const std::optional<WantedPlan>& otherwise) {
  WorkerState* worker = around_.table.by_instance(instance);
  if (worker == nullptr || !worker->connected()) return;
  // It came back while it was being asked: the request, or its answer, may have gone with its connection.
  if (const auto owed = requests_.owed(asked.generation, instance)) return send_change(*owed, asked, *worker);
  if (worker->hello.plan == asked.plan.plan || worker->hello.generation > asked.generation) return;
  open(asked, {worker}, [this, instance, otherwise](const Result<schema::PlanReply>& reply) {
    if (reply) return;
    process::log_warning(
        fmt::format("a worker that joined has not taken the plan that was set: {}", reply.error().message));
    if (!otherwise || draining_) return;
    const schema::SetPlan plan{otherwise->plan, otherwise->allow_undistilled,
                               "a worker joined and refused the latest plan; this one was set before"};
    bring_to({plan, otherwise->generation, false}, instance, std::nullopt);
  });
}

void Plans::announce_all() {
  for (WorkerState* worker : around_.table.connected()) announce(*worker);
}

void Plans::on_plan_result(const std::string& peer, const schema::PlanResult& result) {
  WorkerState* worker = around_.table.by_peer(peer);
  if (worker == nullptr) return;
  const std::string instance = worker->hello.instance;
  if (result.error) {
    requests_.answered(result.request, instance, *result.error);
    return;
  }
  PlanChange change{worker->hello.name, instance, worker->hello.model_digest, result,
                    std::nullopt,       "",       planner_.judged(*worker)};
  const auto asked = requests_.asked(result.request, instance);
  if (asked && result.generation <= asked->generation) {  // else it stays with what was asked later
    change.wanted = WantedPlan{asked->plan.plan, asked->plan.allow_undistilled, asked->generation};
    change.reason = asked->plan.reason.empty() ? "set by hand" : asked->plan.reason;
  }
  for (schema::LayerChange& layer : change.result.changes) {
    if (layer.reason.empty()) layer.reason = change.reason;
  }
  worker->hello.plan = result.plan;
  worker->hello.generation = result.generation;
  planner_.look_again();
  requests_.confirmed(result.request, instance);
  const schema::WorkerPlan plan{change.worker,        worker->hello.model,   result.plan,
                                worker->hello.layers, change.result.changes, {}};
  around_.durable.post(Work(save_plan, change, around_.clock.wall_ms()),
                       [this, change, plan](const Status& status) { saved(change, plan, status); });
}

void Plans::saved(const PlanChange& change, const schema::WorkerPlan& plan, const Status& status) {
  if (!status) {
    requests_.answered(change.result.request, change.instance, status.error());
    return;
  }
  for (const schema::LayerChange& layer : change.result.changes) {
    schema::Event event;
    event.topic = schema::kTopicPlan;
    event.worker = change.worker;
    event.plan = change.result.plan;
    event.change = layer;
    around_.feed.tell(std::move(event));
  }
  requests_.answered(change.result.request, change.instance, plan);
}

void Plans::worker_left(const std::string& instance, const std::string& why) {
  requests_.worker_left(instance, why);
}

void Plans::drain() {
  draining_ = true;
  requests_.end_all(
      {ErrorCode::kUnavailable, "the daemon is stopping; see `dslactl plan show` when it is back"});
}

schema::PlanReply Plans::report() const {
  schema::PlanReply reply;
  for (const WorkerState* worker : around_.table.connected()) {
    reply.workers.push_back(
        {worker->hello.name, worker->hello.model, worker->hello.plan, worker->hello.layers, {}, {}});
  }
  return reply;
}

}  // namespace dslad::daemon
