// The part of Dispatcher that changes plans.
#include <fmt/format.h>
#include <utility>

#include "daemon/dispatch/dispatcher.h"
#include "schema/process/log.h"

namespace dslad::daemon {

void Dispatcher::set_plan(const schema::SetPlan& request, PlanDone done) {
  const std::vector<WorkerState*> workers = table_.connected();
  if (workers.empty()) {
    done(Error{ErrorCode::kUnavailable,
               "no worker is connected, so nobody can take the plan; start a dslad-worker"});
    return;
  }
  if (planner_.settings().kind != policy::PolicyKind::kManual) take_by_hand();
  const AskedPlan asked{request, ++generation_, true};
  PlanChanges::Names names;
  for (const WorkerState* worker : workers) names[worker->hello.instance] = worker->hello.name;
  const std::int64_t deadline_ms = clock_.steady_ms() + config_.plan_timeout_ms;
  const std::uint64_t number = plan_changes_.open(asked, std::move(names), deadline_ms, std::move(done));
  for (const WorkerState* worker : workers) ask_plan(number, asked, *worker);
}

void Dispatcher::drain() {
  assigning_ = false;
  plan_changes_.end_all(
      {ErrorCode::kUnavailable, "the daemon is stopping; see `dslactl plan show` when it is back"});
}

void Dispatcher::ask_plan(std::uint64_t request, const AskedPlan& asked, const WorkerState& worker) {
  const schema::SetPlan& plan = asked.plan;
  const schema::ChangePlan change{request, plan.plan, plan.allow_undistilled, plan.reason, asked.generation};
  if (send(worker.peer, change)) return;
  plan_changes_.answered(request, worker.hello.instance, Error{ErrorCode::kUnavailable, "it is gone"});
}

// A worker that joins, or comes back, follows what was asked last: a change that others are still confirming
// before the plan that is stored. One that has taken a newer plan than either stays with it.
void Dispatcher::bring_to_latest(const std::optional<WantedPlan>& stored, const std::string& instance) {
  const std::optional<AskedPlan> open = plan_changes_.newest();
  if (open && (!stored || open->generation > stored->generation)) {
    bring_to(*open, instance, stored);
  } else if (stored) {
    const schema::SetPlan plan{stored->plan, stored->allow_undistilled,
                               "a worker joined; the plan was set before"};
    bring_to({plan, stored->generation, false}, instance, std::nullopt);
  }
}

// `otherwise`: what the worker is brought to where it refuses.
void Dispatcher::bring_to(const AskedPlan& asked, const std::string& instance,
                          const std::optional<WantedPlan>& otherwise) {
  const WorkerState* worker = table_.by_instance(instance);
  if (worker == nullptr || !worker->connected()) return;
  // It came back while it was being asked: the request, or its answer, may have gone with its connection.
  if (const auto owed = plan_changes_.owed(asked.generation, instance))
    return ask_plan(*owed, asked, *worker);
  if (worker->hello.plan == asked.plan.plan || worker->hello.generation > asked.generation) return;
  const std::int64_t deadline_ms = clock_.steady_ms() + config_.plan_timeout_ms;
  const std::uint64_t number = plan_changes_.open(
      asked, {{instance, worker->hello.name}}, deadline_ms,
      [this, instance, otherwise](const Result<schema::PlanReply>& reply) {
        if (reply) return;
        process::log_warning(fmt::format("a worker that joined has not taken the plan that was set: {}",
                                         reply.error().message));
        if (!otherwise || !assigning_) return;
        const schema::SetPlan plan{otherwise->plan, otherwise->allow_undistilled,
                                   "a worker joined and refused the latest plan; this one was set before"};
        bring_to({plan, otherwise->generation, false}, instance, std::nullopt);
      });
  ask_plan(number, asked, *worker);
}

void Dispatcher::on_plan_result(const std::string& peer, const schema::PlanResult& result) {
  WorkerState* worker = table_.by_peer(peer);
  if (worker == nullptr) return;
  const std::string instance = worker->hello.instance;
  if (result.error) {
    plan_changes_.answered(result.request, instance, *result.error);
    return;
  }
  PlanChange change{worker->hello.name, instance, worker->hello.model_digest, result, std::nullopt, ""};
  const auto asked = plan_changes_.asked(result.request, instance);
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
  plan_changes_.confirmed(result.request, instance);
  const schema::WorkerPlan plan{change.worker,        worker->hello.model,   result.plan,
                                worker->hello.layers, change.result.changes, {}};
  const std::int64_t now_ms = clock_.wall_ms();
  durable_.post<std::monostate>(
      [change, now_ms](Database& db) { return save_plan(db, change, now_ms); },
      [this, change, plan](const Status& saved) { plan_saved(change, plan, saved); });
}

void Dispatcher::plan_saved(const PlanChange& change, const schema::WorkerPlan& plan, const Status& saved) {
  if (!saved) {
    plan_changes_.answered(change.result.request, change.instance, saved.error());
    return;
  }
  for (const schema::LayerChange& layer : change.result.changes) {
    schema::Event event;
    event.topic = schema::kTopicPlan;
    event.worker = change.worker;
    event.plan = change.result.plan;
    event.change = layer;
    feed_.tell(std::move(event));
  }
  plan_changes_.answered(change.result.request, change.instance, plan);
}

schema::PlanReply Dispatcher::plans() {
  schema::PlanReply reply;
  for (const WorkerState* worker : table_.connected()) {
    reply.workers.push_back(
        {worker->hello.name, worker->hello.model, worker->hello.plan, worker->hello.layers, {}, {}});
  }
  return reply;
}

}  // namespace dslad::daemon
