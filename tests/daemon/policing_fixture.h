// The dispatcher with a policy, a worker whose speed is known, and jobs for it.
#pragma once

#include <gmock/gmock.h>

#include "tests/daemon/dispatcher_fixture.h"

namespace dslad::daemon::test {

class Policing : public DispatcherTest {
 protected:
  Policing() {
    use(schema::PolicyKind::kDeadline);
    outbox_.take<schema::SetWorkerPlan>("w");
  }

  schema::PolicyReply use(schema::PolicyKind kind, std::uint64_t target_ms = 10'000) {
    schema::SetPolicy request;
    request.policy = kind;
    request.target_drain_ms = target_ms;
    request.min_quality = 0.9;
    return set(request);
  }

  schema::PolicyReply set(const schema::SetPolicy& request) {
    std::optional<schema::PolicyReply> reply;
    dispatcher_.set_policy(request, [&](Result<schema::PolicyReply> done) { reply = must(std::move(done)); });
    return reply.value();
  }

  // A worker of four layers that holds one job beside the one that it works on.
  void connect_worker(const std::string& name = "w") {
    schema::Hello message = hello(name, name, 4);
    message.room = 1;
    message.context = 8'192;
    message.edition = "e1";
    for (std::uint32_t plan = 0; plan <= 4; ++plan)
      message.plans.push_back({plan, 1 - 0.01 * plan, 100 * (4 - plan), 0});
    dispatcher_.on_hello(name, 1, message);
  }

  // The job takes a second of work, a byte a token.
  schema::WorkerResult done(const schema::Lease& lease, double work_ms = 1'000, std::uint32_t plan = 0) {
    schema::WorkerResult result = success(lease);
    result.metrics.plan = plan;
    result.metrics.prompt_tokens = 1'000;
    result.metrics.output_tokens = 10;
    result.metrics.prefill_work_ms = work_ms;
    result.metrics.decode_work_ms = 0;
    result.metrics.batch = 1;
    return result;
  }

  static schema::JobRequest document() { return summarize(std::string(1'000, 'x')); }

  // So many jobs in one go.
  std::vector<schema::JobId> submit_many(int count) {
    const std::vector<schema::JobRequest> jobs(static_cast<std::size_t>(count), document());
    const schema::Submitted reply = must(enqueue_jobs(db_, jobs, {}, clock_.wall_ms(), "ada"));
    dispatcher_.jobs_queued();
    return reply.ids;
  }

  // Jobs that end, so that the daemon knows how fast the worker is on plans 0 and 4.
  void teach() {
    for (int i = 0; i < 6; ++i) {
      submit(document());
      for (const schema::Assign& assign : outbox_.take<schema::Assign>("w")) {
        dispatcher_.on_room("w", {{assign.lease}, 1});
        dispatcher_.on_result("w", done(assign.lease, i % 2 == 0 ? 1'000 : 250, i % 2 == 0 ? 0 : 4));
      }
    }
    pass(300);
  }

  // Of a job that comes and is not stored.
  Admission admission(const schema::JobRequest& job) {
    return dispatcher_.planner().admit({job}, "ada").at(0);
  }

  std::vector<schema::Assign> assigns() { return outbox_.take<schema::Assign>("w"); }
};

}  // namespace dslad::daemon::test
