// What clients ask of the daemon itself and not of jobs: its mode, plans and policy, backups and checks.
#include <utility>

#include "daemon/ingress/clients.h"
#include "daemon/store/job_reads.h"
#include "daemon/store/layers.h"
#include "daemon/store/policy_log.h"

namespace dslad::daemon {

void Clients::on(const Asker& asker, const schema::SetQueueMode& request) {
  parts_.dispatcher.set_mode(request.mode, [this, asker, mode = request.mode](const Status& saved) {
    if (saved) {
      reply(asker, schema::QueueReply{mode});
    } else {
      refuse(asker, saved.error());
    }
  });
}

// What the daemon records of itself, of workers and of the policy, is under way while it counts already; in
// the writer's order of things it is seen by whoever asks afterwards.
void Clients::on(const Asker& asker, const schema::GetLayers&) {
  answer(parts_.writer, asker, Work(read_layers),
         [](std::vector<schema::ModelLayers> models) { return schema::LayersReply{std::move(models)}; });
}

void Clients::on(const Asker& asker, const schema::ShowPlan&) {
  reply(asker, parts_.dispatcher.plans());
}

void Clients::on(const Asker& asker, const schema::SetPlan& request) {
  parts_.dispatcher.set_plan(request, [this, asker](const Result<schema::PlanReply>& done) {
    if (done) {
      reply(asker, *done);
    } else {
      refuse(asker, done.error());
    }
  });
}

void Clients::on(const Asker& asker, const schema::ShowPolicy&) {
  reply(asker, parts_.dispatcher.planner().report());
}

void Clients::on(const Asker& asker, const schema::SetPolicy& request) {
  parts_.dispatcher.set_policy(request, [this, asker](const Result<schema::PolicyReply>& done) {
    if (done) {
      reply(asker, *done);
    } else {
      refuse(asker, done.error());
    }
  });
}

void Clients::on(const Asker& asker, const schema::ExplainJob& request) {
  look_up(asker, Work(read_verdict, request.id, asker.scope), [this](schema::JobVerdict verdict) {
    if (verdict.state == schema::JobState::kRunning || verdict.at_worker)
      verdict.finish_ms = parts_.dispatcher.planner().running_finish(verdict.id);
    if (verdict.state != schema::JobState::kQueued || verdict.at_worker) return verdict;
    const std::optional<Forecast> forecast = parts_.dispatcher.planner().forecast(verdict.id);
    if (!forecast) {
      verdict.why = "nothing is decided yet: no worker that could take it is connected, or it is far behind";
      return verdict;
    }
    verdict.plan = forecast->plan;
    verdict.quality = forecast->quality;
    verdict.why = forecast->why;
    verdict.place = forecast->place;
    verdict.start_ms = forecast->start_ms;
    verdict.finish_ms = forecast->finish_ms;
    return verdict;
  });
}

void Clients::on(const Asker& asker, const schema::GetPolicyHistory& request) {
  answer(parts_.writer, asker, Work(policy_changes, request.limit),
         [](std::vector<schema::PolicyChange> changes) { return schema::PolicyHistory{std::move(changes)}; });
}

void Clients::on(const Asker& asker, const schema::BeginBackup&) {
  reply_or_refuse(asker, parts_.backups->begin(asker.peer));
}

void Clients::on(const Asker& asker, const schema::ShowBackup& request) {
  reply_or_refuse(asker, parts_.backups->show(request.backup));
}

// A piece is as long as a page of results, and read where these are.
void Clients::on(const Asker& asker, const schema::ReadBackup& request) {
  const auto piece = parts_.backups->read(request);
  if (!piece) return refuse(asker, piece.error());
  look_up(asker, *piece, [](schema::BackupPiece read) { return read; });
}

void Clients::on(const Asker& asker, const schema::EndBackup& request) {
  reply_or_refuse(asker, parts_.backups->end(request.backup));
}

void Clients::on(const Asker& asker, const schema::BeginIntegrity& request) {
  reply_or_refuse(asker, parts_.checks->begin(asker.peer, request.quick));
}

void Clients::on(const Asker& asker, const schema::ShowIntegrity& request) {
  reply_or_refuse(asker, parts_.checks->show(request.check));
}

}  // namespace dslad::daemon
