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
  std::vector<std::string> instances;
  instances.reserve(workers.size());
  for (const WorkerState* worker : workers) instances.push_back(worker->hello.instance);
  const std::int64_t deadline_ms = clock_.steady_ms() + config_.plan_timeout_ms;
  const std::uint64_t number =
      plan_changes_.open(request, std::move(instances), deadline_ms, std::move(done));
  for (const WorkerState* worker : workers) ask_plan(number, request, *worker);
}

void Dispatcher::drain() {
  assigning_ = false;
  plan_changes_.end_all(
      {ErrorCode::kUnavailable, "the daemon is stopping; see `dslactl plan show` when it is back"});
}

void Dispatcher::ask_plan(std::uint64_t request, const schema::SetPlan& plan, const WorkerState& worker) {
  const schema::ChangePlan change{request, plan.plan, plan.allow_undistilled, plan.reason};
  if (send(worker.peer, change)) return;
  plan_changes_.answered(request, worker.hello.instance,
                         Error{ErrorCode::kUnavailable, fmt::format("worker {} is gone", worker.hello.name)});
}

// A worker that joins follows the plan that was set by hand while it was away.
void Dispatcher::bring_to(const WantedPlan& wanted, const std::string& instance) {
  const WorkerState* worker = table_.by_instance(instance);
  if (worker == nullptr || !worker->connected() || worker->hello.plan == wanted.plan) return;
  const schema::SetPlan request{wanted.plan, wanted.allow_undistilled,
                                "a worker joined; the plan was set before"};
  const std::int64_t deadline_ms = clock_.steady_ms() + config_.plan_timeout_ms;
  const std::uint64_t number =
      plan_changes_.open(request, {instance}, deadline_ms, [](const Result<schema::PlanReply>& reply) {
        if (!reply)
          process::log_warning(
              fmt::format("a worker that joined kept its own plan: {}", reply.error().message));
      });
  ask_plan(number, request, *worker);
}

void Dispatcher::on_plan_result(const std::string& peer, const schema::PlanResult& result) {
  WorkerState* worker = table_.by_peer(peer);
  if (worker == nullptr) return;
  const std::string instance = worker->hello.instance;
  if (result.error) {
    plan_changes_.answered(result.request, instance, result.error->with_context(worker->hello.name));
    return;
  }
  PlanChange change{worker->hello.name, worker->hello.model_digest, result, std::nullopt, ""};
  if (const auto asked = plan_changes_.asked(result.request, instance)) {
    change.wanted = WantedPlan{asked->plan, asked->allow_undistilled};
    change.reason = asked->reason.empty() ? "set by hand" : asked->reason;
  }
  for (schema::LayerChange& layer : change.result.changes) {
    if (layer.reason.empty()) layer.reason = change.reason;
  }
  worker->hello.plan = result.plan;
  const std::int64_t now_ms = clock_.wall_ms();
  durable_.post<std::monostate>(
      [change, now_ms](Database& db) { return save_plan(db, change, now_ms); },
      [this, change, instance](const Status& saved) { plan_saved(change, instance, saved); });
}

void Dispatcher::plan_saved(const PlanChange& change, const std::string& instance, const Status& saved) {
  if (!saved) {
    plan_changes_.answered(change.result.request, instance, saved.error());
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
  schema::WorkerPlan plan{change.worker, "", change.result.plan, 0, change.result.changes};
  if (const WorkerState* worker = table_.by_instance(instance); worker != nullptr) {
    plan.model = worker->hello.model;
    plan.layers = worker->hello.layers;
  }
  plan_changes_.answered(change.result.request, instance, std::move(plan));
}

schema::PlanReply Dispatcher::plans() {
  schema::PlanReply reply;
  for (const WorkerState* worker : table_.connected()) {
    reply.workers.push_back(
        {worker->hello.name, worker->hello.model, worker->hello.plan, worker->hello.layers, {}});
  }
  return reply;
}

}  // namespace dslad::daemon
