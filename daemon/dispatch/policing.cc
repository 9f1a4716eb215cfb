#include "daemon/dispatch/policing.h"

#include <fmt/format.h>
#include <string_view>
#include <utility>

#include "base/process/log.h"
#include "daemon/dispatch/policy_settings.h"
#include "daemon/store/policy_log.h"
#include "daemon/store/settings.h"

namespace dslad::daemon {

void Policing::restore(const std::map<std::string, std::string>& settings) {
  policy::Settings restored = planner_.settings();
  for (const std::string& wrong : apply_stored(settings, restored)) {
    process::log_warning(fmt::format("a stored setting of the policy is passed over: {}", wrong));
  }
  planner_.use(restored);
}

void Policing::set_policy(const schema::SetPolicy& request, PolicyDone done) {
  around_.store.post(
      Work(save_settings, to_stored(request)), [this, request, done = std::move(done)](const Status& saved) {
        if (!saved) return done(saved.error());
        policy::Settings settings = planner_.settings();
        apply(request, settings);
        planner_.use(settings);
        for (WorkerState* worker : around_.table.connected()) worker->asked_plan.reset();
        process::log_info("policy set", {{"POLICY", std::string(schema::to_string(settings.kind))}});
        for (const std::string& note : planner_.notes()) process::log_warning(note);
        done(planner_.report());
      });
}

void Policing::set_plan(const schema::SetPlan& request, PlanDone done) {
  const std::vector<WorkerState*> workers = around_.table.connected();
  if (workers.empty()) {
    done(Error{ErrorCode::kUnavailable,
               "no worker is connected, so nobody can take the plan; start a dslad-worker"});
    return;
  }
  if (planner_.settings().kind != policy::PolicyKind::kManual) take_by_hand();
  plans_.ask(request, true, workers, std::move(done));
}

// At once: a policy that stayed until this is stored would take the plan back.
void Policing::take_by_hand() {
  schema::SetPolicy by_hand;
  by_hand.policy = schema::PolicyKind::kManual;
  policy::Settings settings = planner_.settings();
  apply(by_hand, settings);
  planner_.use(settings);
  around_.durable.post(Work(save_settings, to_stored(by_hand)), [](const Status& saved) {
    if (!saved)
      process::log_error(fmt::format("cannot record that plans are set by hand: {}", saved.error().message));
  });
}

void Policing::on_change(const schema::PolicyChange& change) {
  around_.durable.post(Work(record_policy_change, change), [](const Status& recorded) {
    if (!recorded)
      process::log_error(fmt::format("cannot record a change of the policy: {}", recorded.error().message));
  });
  follow();
}

// Jobs are told their plans one by one; the plan in force is what layers are shown to be.
void Policing::follow() {
  if (planner_.settings().kind == policy::PolicyKind::kManual || plans_.draining()) return;
  const std::string_view policy = schema::to_string(planner_.settings().kind);
  for (WorkerState* worker : around_.table.connected()) {
    const std::uint32_t plan = planner_.plan_for(*worker);
    if (worker->announcing || worker->hello.plan == plan || worker->asked_plan == plan) continue;
    worker->asked_plan = plan;
    std::string why = planner_.why_of(*worker);
    if (why.empty()) why = "the policy has no use for it";
    plans_.ask({plan, false, fmt::format("policy {}: {}", policy, why)}, false, {worker},
               [name = worker->hello.name](const Result<schema::PlanReply>& reply) {
                 if (reply) return;
                 process::log_warning(
                     fmt::format("worker {} did not follow the policy: {}", name, reply.error().message));
               });
  }
}

}  // namespace dslad::daemon
