#include "daemon/ingress/clients.h"

#include <fmt/format.h>
#include <memory>
#include <set>
#include <utility>

#include "daemon/store/job_reads.h"
#include "daemon/store/layers.h"
#include "daemon/store/policy_log.h"
#include "schema/utf8.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobInfo;

std::size_t bytes_of(const schema::Submit& submit) {
  std::size_t bytes = 0;
  for (const schema::JobRequest& job : submit.jobs) {
    bytes += job.spec.document.size() + job.spec.prompt.size();
    for (const std::string& question : job.spec.questions) bytes += question.size();
  }
  return bytes;
}

std::set<JobId> open_jobs(const std::vector<JobInfo>& infos) {
  std::set<JobId> open;
  for (const JobInfo& info : infos) {
    if (!schema::is_final(info.state)) open.insert(info.id);
  }
  return open;
}

}  // namespace

Clients::Clients(Parts parts, const QueueLimits& limits)
    : parts_(std::move(parts)), limits_(limits), started_ms_(parts_.clock.steady_ms()) {
  parts_.feed.add(waits_);
  for (const char* name : {"requests", "requests_malformed", "jobs_submitted", "jobs_duplicate"})
    counts_[name] = 0;
}

template <typename Message>
void Clients::handle(Clients& clients, const Asker& asker, const schema::Envelope& envelope) {
  Result<Message> message = schema::decode<Message>(envelope);
  if (message) {
    clients.on(asker, std::move(message).value());
  } else {
    clients.refuse(asker, message.error());
  }
}

const std::map<std::string_view, Clients::Handler>& Clients::handlers() {
  static const std::map<std::string_view, Handler> kHandlers = {
      {schema::Submit::kKind, handle<schema::Submit>},
      {schema::GetStatus::kKind, handle<schema::GetStatus>},
      {schema::ListJobs::kKind, handle<schema::ListJobs>},
      {schema::GetJob::kKind, handle<schema::GetJob>},
      {schema::GetResult::kKind, handle<schema::GetResult>},
      {schema::Wait::kKind, handle<schema::Wait>},
      {schema::Cancel::kKind, handle<schema::Cancel>},
      {schema::GetLayers::kKind, handle<schema::GetLayers>},
      {schema::ShowPlan::kKind, handle<schema::ShowPlan>},
      {schema::SetPlan::kKind, handle<schema::SetPlan>},
      {schema::ShowPolicy::kKind, handle<schema::ShowPolicy>},
      {schema::SetPolicy::kKind, handle<schema::SetPolicy>},
      {schema::ExplainJob::kKind, handle<schema::ExplainJob>},
      {schema::GetPolicyHistory::kKind, handle<schema::GetPolicyHistory>},
      {schema::GetStats::kKind, handle<schema::GetStats>},
      {schema::Ping::kKind, handle<schema::Ping>},
  };
  return kHandlers;
}

void Clients::on_frame(const std::string& peer, std::string frame) {
  ++counts_["requests"];
  const Result<schema::Envelope> envelope = schema::Envelope::parse(std::move(frame));
  if (!envelope) {
    ++counts_["requests_malformed"];
    malformed_.warning(fmt::format("a client sent a malformed frame: {}", envelope.error().message),
                       parts_.clock.steady_ms());
    refuse({peer, 0}, envelope.error());
    return;
  }
  const Asker asker{peer, envelope->id()};
  const auto found = handlers().find(envelope->kind());
  if (found != handlers().end()) {
    found->second(*this, asker, *envelope);
  } else {
    refuse(asker, {ErrorCode::kInvalidArgument,
                   fmt::format("there is no request '{}'",
                               schema::utf8_prefix(envelope->kind(), schema::kMaxShownBytes))});
  }
}

void Clients::refuse(const Asker& asker, const Error& error) {
  reply(asker, schema::ErrorReply{error.code, error.message});
}

template <typename T, typename Shape>
void Clients::answer(const Asker& asker, std::function<Result<T>(Database&)> work, Shape shape) {
  parts_.queue.post<T>(std::move(work), [this, asker, shape](Result<T> result) {
    if (result) {
      reply(asker, shape(std::move(result).value()));
    } else {
      refuse(asker, result.error());
    }
  });
}

void Clients::on(const Asker& asker, schema::Submit request) {
  if (draining_) {
    refuse(asker, {ErrorCode::kUnavailable, "the daemon is stopping; submit again when it is back"});
    return;
  }
  const std::size_t bytes = bytes_of(request);
  const std::vector<Admission> admissions = parts_.dispatcher.planner().admit(request.jobs, request.client);
  std::vector<std::int64_t> finish_ms;
  std::vector<std::optional<Error>> refused;
  for (const Admission& admission : admissions) {
    finish_ms.push_back(admission.finish_ms);
    refused.push_back(admission.refusal);
  }
  const auto submit = std::make_shared<const schema::Submit>(std::move(request));
  const std::int64_t now_ms = parts_.clock.wall_ms();
  parts_.queue.post<schema::Submitted>(
      [this, submit, refused = std::move(refused), now_ms](Database& db) {
        return enqueue(db, submit->jobs, limits_, now_ms, submit->client, refused);
      },
      [this, asker, finish_ms = std::move(finish_ms)](Result<schema::Submitted> submitted) {
        if (!submitted) return refuse(asker, submitted.error());
        submitted->finish_ms = finish_ms;
        for (std::size_t i = 0; i < submitted->ids.size(); ++i) {
          if (submitted->duplicates[i]) submitted->finish_ms[i] = 0;  // nothing was said of the first
        }
        reply(asker, *submitted);
        for (std::size_t i = 0; i < submitted->ids.size(); ++i) {
          const bool duplicate = submitted->duplicates[i];
          ++counts_[duplicate ? "jobs_duplicate" : "jobs_submitted"];
          if (!duplicate) parts_.feed.tell_state(submitted->ids[i], schema::JobState::kQueued);
        }
        parts_.dispatcher.jobs_queued();
      },
      bytes);
}

void Clients::on(const Asker& asker, const schema::GetStatus&) {
  answer<std::map<std::string, std::uint64_t>>(
      asker, count_jobs, [this](std::map<std::string, std::uint64_t> jobs) {
        schema::DaemonStatus status;
        status.version = DSLAD_VERSION;
        status.events_url = parts_.events_url;
        status.uptime_ms = uptime_ms();
        status.draining = draining_;
        status.jobs = std::move(jobs);
        status.workers = parts_.dispatcher.workers();
        if (!status.workers.empty()) status.plan = status.workers.front().plan;
        const schema::PolicyReply policy = parts_.dispatcher.planner().report();
        status.policy = policy.policy;
        status.drain_ms = policy.drain_ms;
        status.waiting_tokens = policy.waiting_tokens;
        return status;
      });
}

void Clients::on(const Asker& asker, const schema::ListJobs& request) {
  answer<schema::JobList>(
      asker, [request](Database& db) { return list_jobs(db, request); },
      [this](schema::JobList list) {
        for (JobInfo& info : list.jobs) add_progress(info);
        return list;
      });
}

void Clients::on(const Asker& asker, const schema::GetJob& request) {
  answer<JobInfo>(
      asker, [id = request.id](Database& db) { return read_info(db, id); },
      [this](JobInfo info) {
        add_progress(info);
        return info;
      });
}

void Clients::on(const Asker& asker, const schema::GetResult& request) {
  answer<schema::JobResult>(
      asker, [id = request.id](Database& db) { return read_result(db, id); },
      [this](schema::JobResult result) {
        add_progress(result.job);
        return result;
      });
}

// The jobs' states are read in the store's order of things, so that an end that is not yet in them is still
// to be told by the feed.
void Clients::on(const Asker& asker, const schema::Wait& request) {
  WaitingClient client{asker, request.ids, parts_.clock.steady_ms() + request.timeout_ms};
  parts_.queue.post<std::vector<JobInfo>>(
      [ids = request.ids](Database& db) { return read_infos(db, ids); },
      [this, client](Result<std::vector<JobInfo>> infos) {
        if (!infos) return refuse(client.asker, infos.error());
        const std::set<JobId> open = open_jobs(*infos);
        if (open.empty()) return reply(client.asker, schema::WaitReply{std::move(infos).value(), true});
        if (draining_)
          return refuse(client.asker, {ErrorCode::kUnavailable, "the daemon is stopping; wait again"});
        if (waits_.add(client, open)) return;
        refuse(client.asker,
               {ErrorCode::kResourceExhausted, "too many clients wait already; wait again later"});
      });
}

void Clients::answer_wait(const WaitingClient& client) {
  answer<std::vector<JobInfo>>(
      client.asker, [ids = client.ids](Database& db) { return read_infos(db, ids); },
      [this](std::vector<JobInfo> infos) {
        for (JobInfo& info : infos) add_progress(info);
        const bool done = open_jobs(infos).empty();
        return schema::WaitReply{std::move(infos), done};
      });
}

void Clients::on(const Asker& asker, const schema::Cancel& request) {
  struct Cancelled {
    CancelOutcome outcome;
    std::vector<JobInfo> infos;
  };
  const std::int64_t now_ms = parts_.clock.wall_ms();
  answer<Cancelled>(
      asker,
      [ids = request.ids, now_ms](Database& db) -> Result<Cancelled> {
        Result<CancelOutcome> outcome = cancel(db, ids, now_ms);
        if (!outcome) return outcome.error();
        std::vector<JobId> found = ids;
        for (const JobId id : outcome->not_found) std::erase(found, id);
        Result<std::vector<JobInfo>> infos = read_infos(db, found);
        if (!infos) return infos.error();
        return Cancelled{std::move(outcome).value(), std::move(infos).value()};
      },
      [this](Cancelled cancelled) {
        parts_.dispatcher.jobs_ended(cancelled.outcome.cancelled, schema::JobState::kCancelled);
        schema::CancelReply reply{std::move(cancelled.infos), {}, std::move(cancelled.outcome.not_found)};
        for (const Ended& ended : cancelled.outcome.cancelled) reply.cancelled.push_back(ended.id);
        return reply;
      });
}

void Clients::on(const Asker& asker, const schema::GetLayers&) {
  answer<std::vector<schema::ModelLayers>>(asker, read_layers, [](std::vector<schema::ModelLayers> models) {
    return schema::LayersReply{std::move(models)};
  });
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
  answer<schema::JobVerdict>(
      asker, [id = request.id](Database& db) { return read_verdict(db, id); },
      [this](schema::JobVerdict verdict) {
        if (verdict.state == schema::JobState::kRunning)
          verdict.finish_ms = parts_.dispatcher.planner().running_finish(verdict.id);
        if (verdict.state != schema::JobState::kQueued) return verdict;
        const std::optional<Forecast> forecast = parts_.dispatcher.planner().forecast(verdict.id);
        if (!forecast) {
          verdict.why =
              "nothing is decided yet: no worker that could take it is connected, or it is far behind";
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
  answer<std::vector<schema::PolicyChange>>(
      asker, [limit = request.limit](Database& db) { return policy_changes(db, limit); },
      [](std::vector<schema::PolicyChange> changes) { return schema::PolicyHistory{std::move(changes)}; });
}

void Clients::on(const Asker& asker, const schema::GetStats&) {
  Counters counters = parts_.counters();
  counters.insert(counts_.begin(), counts_.end());
  counters["waits_open"] = waits_.size();
  reply(asker, schema::StatsReply{uptime_ms(), std::move(counters), parts_.dispatcher.workers(),
                                  parts_.dispatcher.planner().cost_models()});
}

void Clients::on(const Asker& asker, const schema::Ping&) {
  reply(asker, schema::Pong{DSLAD_VERSION});
}

void Clients::tick() {
  for (const WaitingClient& client : waits_.take_ready(parts_.clock.steady_ms())) answer_wait(client);
}

void Clients::drain() {
  draining_ = true;
  for (const WaitingClient& client : waits_.take_all()) {
    refuse(client.asker, {ErrorCode::kUnavailable, "the daemon is stopping; wait again when it is back"});
  }
}

void Clients::add_progress(JobInfo& info) const {
  if (info.state == schema::JobState::kRunning) {
    info.progress = parts_.dispatcher.progress(info.id);
    info.finish_ms = parts_.dispatcher.planner().running_finish(info.id);
  }
  if (info.state != schema::JobState::kQueued) return;
  const std::optional<Forecast> forecast = parts_.dispatcher.planner().forecast(info.id);
  if (!forecast) return;
  info.place = forecast->place;
  info.finish_ms = forecast->finish_ms;
}

std::uint64_t Clients::uptime_ms() const {
  return static_cast<std::uint64_t>(parts_.clock.steady_ms() - started_ms_);
}

}  // namespace dslad::daemon
