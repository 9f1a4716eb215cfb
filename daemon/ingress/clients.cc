#include "daemon/ingress/clients.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <memory>
#include <set>
#include <utility>

#include "base/utf8.h"
#include "daemon/store/job_reads.h"
#include "daemon/store/queued_jobs.h"
#include "schema/endpoint.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobInfo;

std::size_t bytes_of(const schema::Submit& submit) {
  std::size_t bytes = 0;
  for (const schema::JobRequest& job : submit.jobs) bytes += daemon::bytes_of(job.spec);
  return bytes;
}

std::string name_of(const Identity& who) {
  if (who.user) return fmt::format("user {}", who.user->uid);
  return who.key.empty() ? "a peer that is not known" : fmt::format("the key {}", who.key);
}

std::set<JobId> open_jobs(const std::vector<JobInfo>& infos) {
  std::set<JobId> open;
  for (const JobInfo& info : infos) {
    if (!schema::is_final(info.state)) open.insert(info.id);
  }
  return open;
}

// What was asked of some jobs, and how all of them are afterwards.
template <typename Outcome>
struct Changed {
  Outcome outcome;
  std::vector<JobInfo> infos;
};

template <typename Outcome>
Result<Changed<Outcome>> with_infos(Database& db, Result<Outcome> outcome, std::vector<JobId> ids) {
  if (!outcome) return outcome.error();
  for (const JobId id : outcome->not_found) std::erase(ids, id);
  Result<std::vector<JobInfo>> infos = read_infos(db, ids);
  if (!infos) return infos.error();
  return Changed<Outcome>{std::move(outcome).value(), std::move(infos).value()};
}

Result<Changed<CancelOutcome>> cancel_and_read(Database& db, const std::vector<JobId>& ids,
                                               std::int64_t now_ms, const Scope& scope) {
  return with_infos(db, cancel(db, ids, now_ms, scope), ids);
}

Result<Changed<RequeueOutcome>> requeue_and_read(Database& db, const std::vector<JobId>& ids,
                                                 const QueueLimits& limits, std::int64_t now_ms,
                                                 const Scope& scope) {
  return with_infos(db, requeue(db, ids, limits, now_ms, scope), ids);
}

Result<std::uint64_t> purge(Database& db, const schema::Purge& which, std::int64_t now_ms,
                            const Scope& scope) {
  Result<std::uint64_t> forgotten = forget(db, which, schema::kMaxPurge, now_ms, scope);
  if (!forgotten) return forgotten;
  if (Status status = give_back_pages(db); !status) return status.error();
  return forgotten;
}

}  // namespace

Clients::Clients(Parts parts, const QueueLimits& limits)
    : parts_(std::move(parts)),
      limits_(limits),
      waits_(parts_.waits),
      flow_(parts_.outbox, {}),
      started_ms_(parts_.clock.steady_ms()) {
  parts_.feed.add(waits_);
  for (const char* name : {"requests", "requests_malformed", "jobs_submitted", "jobs_duplicate"})
    counts_[name] = 0;
}

// Requests with short replies, or with none for a long time, are served as they come; a submit is weighed by
// the store's own bounds.
template <typename Message>
constexpr bool kServedAtOnce =
    std::is_same_v<Message, schema::Submit> || std::is_same_v<Message, schema::Ping> ||
    std::is_same_v<Message, schema::SetPlan> || std::is_same_v<Message, schema::SetPolicy> ||
    std::is_same_v<Message, schema::SetQueueMode>;

template <typename Message>
void Clients::handle(Clients& clients, const Asker& asker, const schema::Envelope& envelope) {
  Result<Message> message = schema::decode<Message>(envelope);
  if (!message) return clients.refuse(asker, message.error());
  if constexpr (kServedAtOnce<Message>) {
    const std::optional<Asker> permitted = clients.permit(asker, Message::kKind);
    if (permitted) clients.on(*permitted, std::move(message).value());
  } else {
    clients.weigh(asker, [&clients, message = std::move(message).value()](const Asker& weighed) {
      if (const std::optional<Asker> permitted = clients.permit(weighed, Message::kKind))
        clients.on(*permitted, message);
    });
  }
}

std::optional<Asker> Clients::permit(const Asker& asker, std::string_view kind) {
  const Principal principal = parts_.who_is(asker.from);
  const Rights rights = rights_of(principal.role, kind);
  if (rights == Rights::kNone) {
    const std::string why =
        principal.role == Role::kNone
            ? fmt::format("{} may not use this daemon; its operator can allow it ({})", name_of(asker.from),
                          asker.from.user ? "access.submit, access.read, access.admin" : "keys.authorised")
            : fmt::format("'{}' is not for {}, whose role is {}; its operator can give it another", kind,
                          principal.owner, to_string(principal.role));
    refuse(asker, {ErrorCode::kRefused, why});
    return std::nullopt;
  }
  Asker permitted = asker;
  permitted.owner = principal.owner;
  permitted.scope.owner.reset();
  if (rights == Rights::kOwn) permitted.scope.owner = principal.owner;
  return permitted;
}

void Clients::weigh(const Asker& asker, std::function<void(const Asker&)> start) {
  Asker weighed = asker;
  weighed.weighed = true;
  weighed.again = std::make_shared<const std::function<void(const Asker&)>>(std::move(start));
  if (flow_.enter(asker.peer, [weighed] { (*weighed.again)(weighed); })) return;
  refuse(asker, {ErrorCode::kResourceExhausted,
                 "too many requests wait already; read the replies to earlier ones, then ask again"});
}

const std::map<std::string_view, Clients::Handler>& Clients::handlers() {
  static const std::map<std::string_view, Handler> kHandlers = {
      {schema::Submit::kKind, handle<schema::Submit>},
      {schema::GetStatus::kKind, handle<schema::GetStatus>},
      {schema::ListJobs::kKind, handle<schema::ListJobs>},
      {schema::CountJobs::kKind, handle<schema::CountJobs>},
      {schema::GetJob::kKind, handle<schema::GetJob>},
      {schema::GetResult::kKind, handle<schema::GetResult>},
      {schema::Wait::kKind, handle<schema::Wait>},
      {schema::Cancel::kKind, handle<schema::Cancel>},
      {schema::Requeue::kKind, handle<schema::Requeue>},
      {schema::Purge::kKind, handle<schema::Purge>},
      {schema::SetQueueMode::kKind, handle<schema::SetQueueMode>},
      {schema::GetLayers::kKind, handle<schema::GetLayers>},
      {schema::ShowPlan::kKind, handle<schema::ShowPlan>},
      {schema::SetPlan::kKind, handle<schema::SetPlan>},
      {schema::ShowPolicy::kKind, handle<schema::ShowPolicy>},
      {schema::SetPolicy::kKind, handle<schema::SetPolicy>},
      {schema::ExplainJob::kKind, handle<schema::ExplainJob>},
      {schema::GetPolicyHistory::kKind, handle<schema::GetPolicyHistory>},
      {schema::GetStats::kKind, handle<schema::GetStats>},
      {schema::Ping::kKind, handle<schema::Ping>},
      {schema::BeginBackup::kKind, handle<schema::BeginBackup>},
      {schema::ShowBackup::kKind, handle<schema::ShowBackup>},
      {schema::ReadBackup::kKind, handle<schema::ReadBackup>},
      {schema::EndBackup::kKind, handle<schema::EndBackup>},
      {schema::BeginIntegrity::kKind, handle<schema::BeginIntegrity>},
      {schema::ShowIntegrity::kKind, handle<schema::ShowIntegrity>},
  };
  return kHandlers;
}

void Clients::on_frame(const std::string& peer, std::string frame, const Identity& from) {
  ++counts_["requests"];
  const Result<schema::Envelope> envelope = schema::Envelope::parse(std::move(frame));
  if (!envelope) {
    ++counts_["requests_malformed"];
    malformed_.warning(fmt::format("a client sent a malformed frame: {}", envelope.error().message),
                       parts_.clock.steady_ms());
    refuse({peer, 0}, envelope.error());
    return;
  }
  const Asker asker{peer, envelope->id(), false, from};
  const auto found = handlers().find(envelope->kind());
  if (found != handlers().end()) {
    found->second(*this, asker, *envelope);
  } else {
    refuse(asker,
           {ErrorCode::kInvalidArgument,
            fmt::format("there is no request '{}'", utf8_prefix(envelope->kind(), schema::kMaxShownBytes))});
  }
}

void Clients::refuse(const Asker& asker, const Error& error) {
  reply(asker,
        schema::ErrorReply{error.code, std::string(utf8_prefix(error.message, schema::kMaxErrorBytes))});
}

std::optional<Error> Clients::reason_to_refuse(const Asker& asker) const {
  if (draining_)
    return Error{ErrorCode::kUnavailable, "the daemon is stopping; submit again when it is back"};
  if (parts_.dispatcher.mode() == schema::QueueMode::kDraining) {
    return Error{
        ErrorCode::kUnavailable,
        "the queue takes no jobs: it is being drained; submit again when it is open (dslactl resume)"};
  }
  if (flow_.is_behind(asker.peer)) {
    return Error{ErrorCode::kResourceExhausted,
                 "too many replies have not been read; read them, then submit again"};
  }
  return std::nullopt;
}

// A queue that is full says about when it will not be.
Error Clients::with_hint(const Error& error) const {
  const std::uint64_t drain_ms = parts_.dispatcher.planner().report().drain_ms;
  if (error.code != ErrorCode::kResourceExhausted || drain_ms == 0) return error;
  return {error.code,
          fmt::format("{} (what waits is done in about {} s)", error.message, drain_ms / 1'000 + 1)};
}

void Clients::on(const Asker& asker, schema::Submit request) {
  if (const std::optional<Error> reason = reason_to_refuse(asker)) return refuse(asker, *reason);
  const std::size_t bytes = bytes_of(request);
  const std::string turns_of = turn_key(asker.owner, request.client);
  const std::vector<Admission> admissions =
      parts_.dispatcher.planner().admit(request.jobs, turns_of, limits_.default_overflow);
  std::vector<std::int64_t> finish_ms;
  std::vector<Turn> turns;
  Intake intake{parts_.clock.wall_ms(), asker.owner};
  for (std::size_t i = 0; i < admissions.size(); ++i) {
    finish_ms.push_back(admissions[i].finish_ms);
    intake.refused.push_back(admissions[i].refusal);
    turns.push_back(parts_.dispatcher.take_turn(turns_of, request.jobs[i]));
    intake.delay_ms.push_back(turns.back().delay_ms);
  }
  parts_.writer.post(
      Work(enqueue, std::move(request), limits_, std::move(intake)),
      [this, asker, finish_ms = std::move(finish_ms), turns = std::move(turns), turns_of,
       came = std::chrono::steady_clock::now()](Result<Enqueued> enqueued) {
        for (std::size_t i = 0; i < turns.size(); ++i) {
          if (!enqueued || enqueued->reply.duplicates[i])
            parts_.dispatcher.give_turn_back(turns_of, turns[i]);
        }
        if (!enqueued) {
          if (enqueued.error().code == ErrorCode::kUnavailable)
            not_stored_.warning(fmt::format("jobs cannot be stored: {}", enqueued.error().message),
                                parts_.clock.steady_ms());
          return refuse(asker, with_hint(enqueued.error()));
        }
        schema::Submitted& submitted = enqueued->reply;
        submitted.finish_ms = finish_ms;
        for (std::size_t i = 0; i < submitted.ids.size(); ++i) {
          if (submitted.duplicates[i]) submitted.finish_ms[i] = 0;  // nothing was said of the first
        }
        reply(asker, submitted);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - came;
        parts_.feed.measure(Measured::kEnqueueS, took.count());
        for (std::size_t i = 0; i < submitted.ids.size(); ++i) {
          const bool duplicate = submitted.duplicates[i];
          ++counts_[duplicate ? "jobs_duplicate" : "jobs_submitted"];
          if (!duplicate) parts_.feed.tell_state(submitted.ids[i], schema::JobState::kQueued);
        }
        for (const JobId id : enqueued->requeued) parts_.feed.tell_state(id, schema::JobState::kQueued);
        parts_.dispatcher.jobs_queued();
      },
      bytes);
}

// Where a client that came by a key, or by a local socket, can watch: at a URL like its own.
std::string Clients::events_url_for(bool by_key) const {
  const std::vector<std::string>& urls = parts_.events_urls;
  const auto like_its_own =
      std::find_if(urls.begin(), urls.end(), [&](const auto& url) { return schema::is_tcp(url) == by_key; });
  if (like_its_own != urls.end()) return *like_its_own;
  return urls.empty() ? std::string() : urls.front();
}

void Clients::on(const Asker& asker, const schema::GetStatus&) {
  look_up(asker, Work([](Database& db) { return count_jobs(db); }),
          [this, principal = parts_.who_is(asker.from),
           by_key = !asker.from.key.empty()](std::map<std::string, std::uint64_t> jobs) {
            schema::DaemonStatus status;
            status.you = principal.owner;
            status.role = to_string(principal.role);
            status.version = DSLAD_VERSION;
            status.events_url = events_url_for(by_key);
            status.uptime_ms = uptime_ms();
            status.draining = draining_;
            status.mode = parts_.dispatcher.mode();
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
  look_up(asker, Work(list_jobs, request, asker.scope), [this](schema::JobList list) {
    for (JobInfo& info : list.jobs) add_progress(info);
    return list;
  });
}

void Clients::on(const Asker& asker, const schema::CountJobs& request) {
  look_up(asker,
          Work([](Database& db, const schema::CountJobs& asked,
                  const Scope& scope) { return count_jobs(db, asked, scope); },
               request, asker.scope),
          [](schema::JobCounts counts) { return counts; });
}

void Clients::on(const Asker& asker, const schema::GetJob& request) {
  look_up(asker, Work(read_info, request.id, asker.scope), [this](JobInfo info) {
    add_progress(info);
    return info;
  });
}

void Clients::on(const Asker& asker, const schema::GetResult& request) {
  look_up(asker, Work(read_result, request.id, request.from, schema::kPageBytes, asker.scope),
          [this](schema::JobResult result) {
            add_progress(result.job);
            return result;
          });
}

// The jobs' states are read in the writer's order of things, so that an end that is not yet in them is still
// to be told by the feed.
void Clients::on(const Asker& asker, const schema::Wait& request) {
  const Work look(read_infos, request.ids, asker.scope);
  WaitingClient client{asker, request.ids, parts_.clock.steady_ms() + request.timeout_ms};
  parts_.writer.post(look, [this, client = std::move(client)](Result<std::vector<JobInfo>> infos) {
    if (!infos) return refuse(client.asker, infos.error());
    const std::set<JobId> open = open_jobs(*infos);
    if (open.empty()) return reply(client.asker, schema::WaitReply{std::move(infos).value(), true});
    if (draining_)
      return refuse(client.asker, {ErrorCode::kUnavailable, "the daemon is stopping; wait again"});
    begin_wait(client, open);
  });
}

// It is under way no longer: it may last a day.
void Clients::begin_wait(WaitingClient client, const std::set<JobId>& open) {
  const Error full{ErrorCode::kResourceExhausted, "too many clients wait already; wait again later"};
  const Asker asker = client.asker;
  client.asker.weighed = false;
  if (parts_.outbox.gone(asker.peer)) return flow_.leave(asker.peer);  // while its jobs were looked up
  const Waits::Added added = waits_.add(std::move(client), open);
  for (const WaitingClient& displaced : added.displaced) refuse(displaced.asker, full);
  if (!added.taken) return refuse(asker, full);
  flow_.leave(asker.peer);
}

void Clients::answer_wait(const WaitingClient& client) {
  weigh(client.asker, [this, ids = client.ids](const Asker& weighed) {
    const std::optional<Asker> asker = permit(weighed, schema::Wait::kKind);
    if (!asker) return;
    look_up(*asker, Work(read_infos, ids, asker->scope), [this](std::vector<JobInfo> infos) {
      for (JobInfo& info : infos) add_progress(info);
      const bool done = open_jobs(infos).empty();
      return schema::WaitReply{std::move(infos), done};
    });
  });
}

void Clients::on(const Asker& asker, const schema::Cancel& request) {
  answer(parts_.writer, asker, Work(cancel_and_read, request.ids, parts_.clock.wall_ms(), asker.scope),
         [this](Changed<CancelOutcome> cancelled) {
           parts_.dispatcher.jobs_ended(cancelled.outcome.cancelled, schema::JobState::kCancelled);
           schema::CancelReply reply{std::move(cancelled.infos), {}, std::move(cancelled.outcome.not_found)};
           for (const Ended& ended : cancelled.outcome.cancelled) reply.cancelled.push_back(ended.id);
           return reply;
         });
}

void Clients::on(const Asker& asker, const schema::Requeue& request) {
  answer(parts_.writer, asker,
         Work(requeue_and_read, request.ids, limits_, parts_.clock.wall_ms(), asker.scope),
         [this](Changed<RequeueOutcome> requeued) {
           for (const JobId id : requeued.outcome.requeued)
             parts_.feed.tell_state(id, schema::JobState::kQueued);
           if (!requeued.outcome.requeued.empty()) parts_.dispatcher.jobs_queued();
           return schema::RequeueReply{std::move(requeued.infos), std::move(requeued.outcome.requeued),
                                       std::move(requeued.outcome.not_found)};
         });
}

void Clients::on(const Asker& asker, const schema::Purge& request) {
  answer(parts_.writer, asker, Work(purge, request, parts_.clock.wall_ms(), asker.scope),
         [](std::uint64_t jobs) {
           return schema::PurgeReply{jobs, jobs == schema::kMaxPurge};
         });
}

Clients::Counters Clients::counters() const {
  Counters counters = parts_.counters();
  counters.insert(counts_.begin(), counts_.end());
  counters["waits_open"] = waits_.size();
  counters["requests_waiting"] = flow_.waiting();
  counters["reply_bytes_unread"] = parts_.outbox.unsent();
  return counters;
}

void Clients::on(const Asker& asker, const schema::GetStats&) {
  reply(asker, schema::StatsReply{uptime_ms(), counters(), parts_.dispatcher.workers(),
                                  parts_.dispatcher.planner().cost_models()});
}

void Clients::on(const Asker& asker, const schema::Ping&) {
  reply(asker, schema::Pong{DSLAD_VERSION});
}

void Clients::on_departed(const std::string& peer) {
  if (parts_.backups != nullptr) parts_.backups->on_departed(peer);
  if (parts_.checks != nullptr) parts_.checks->on_departed(peer);
  waits_.forget(peer);
  flow_.forget(peer);
}

void Clients::tick() {
  for (const WaitingClient& client : waits_.take_ready(parts_.clock.steady_ms())) answer_wait(client);
}

void Clients::drain() {
  draining_ = true;
  for (const WaitingClient& client : waits_.take_all()) {
    refuse(client.asker, {ErrorCode::kUnavailable, "the daemon is stopping; wait again when it is back"});
  }
  flow_.start_all();
}

void Clients::add_progress(JobInfo& info) const {
  if (info.state == schema::JobState::kRunning || info.at_worker) {
    info.progress = parts_.dispatcher.progress(info.id);
    info.finish_ms = parts_.dispatcher.planner().running_finish(info.id);
  }
  if (info.state != schema::JobState::kQueued || info.at_worker) return;
  const std::optional<Forecast> forecast = parts_.dispatcher.planner().forecast(info.id);
  if (!forecast) return;
  info.place = forecast->place;
  info.finish_ms = forecast->finish_ms;
}

std::uint64_t Clients::uptime_ms() const {
  return static_cast<std::uint64_t>(parts_.clock.steady_ms() - started_ms_);
}

}  // namespace dslad::daemon
