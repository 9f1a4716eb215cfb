// Answers clients' requests: reads them, looks whether their role allows them (access/role.h), has the store
// and the dispatcher do the work, replies once. A request that is malformed gets an error reply; nothing a
// client sends can harm the daemon. Socket thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/access/role.h"
#include "daemon/clock.h"
#include "daemon/dispatch/dispatcher.h"
#include "daemon/ingress/backups.h"
#include "daemon/ingress/checks.h"
#include "daemon/ingress/flow.h"
#include "daemon/ingress/waits.h"
#include "daemon/outbox.h"
#include "daemon/service/feed.h"
#include "daemon/service/limited_warning.h"
#include "daemon/store/executor.h"
#include "daemon/store/job_writes.h"
#include "schema/codec.h"

namespace dslad::daemon {

class Clients {
 public:
  using Counters = std::map<std::string, std::uint64_t>;

  // What the clients are served with; all outlive this.
  struct Parts {
    const Clock& clock;
    Executor& writer;  // transitions, and what must be seen in their order
    Executor& reader;  // queries
    Outbox& outbox;
    Dispatcher& dispatcher;
    Feed& feed;
    std::function<Counters()> counters;                // of the other parts, for `stats`
    std::function<Principal(const Identity&)> who_is;  // as of now
    std::vector<std::string>
        events_urls;             // one is told to each client, so that it needs to know one URL only
    Backups* backups = nullptr;  // as the next, null where a test has none
    Checks* checks = nullptr;
    WaitLimits waits = {};
  };

  Clients(Parts parts, const QueueLimits& limits);
  void set_limits(const QueueLimits& limits) { limits_ = limits; }  // for what comes from now on

  void on_frame(const std::string& peer, std::string frame, const Identity& from);
  // Answers the waits that are over.
  void tick();
  // Its connection has ended: nobody is there to hear a reply.
  void on_departed(const std::string& peer);
  // Replies have left for their clients.
  void on_sent() { flow_.resume(); }
  [[nodiscard]] Counters counters() const;  // as `stats` has them
  [[nodiscard]] std::uint64_t uptime_ms() const;
  // From now on submits are refused; waits are answered at once.
  void drain();

 private:
  [[nodiscard]] std::string events_url_for(bool by_key) const;
  using Handler = void (*)(Clients&, const Asker&, const schema::Envelope&);
  template <typename Message>
  static void handle(Clients& clients, const Asker& asker, const schema::Envelope& envelope);
  static const std::map<std::string_view, Handler>& handlers();

  void on(const Asker& asker, schema::Submit request);
  void on(const Asker& asker, const schema::GetStatus& request);
  void on(const Asker& asker, const schema::ListJobs& request);
  void on(const Asker& asker, const schema::CountJobs& request);
  void on(const Asker& asker, const schema::GetJob& request);
  void on(const Asker& asker, const schema::GetResult& request);
  void on(const Asker& asker, const schema::Wait& request);
  void on(const Asker& asker, const schema::Cancel& request);
  void on(const Asker& asker, const schema::Requeue& request);
  void on(const Asker& asker, const schema::Purge& request);
  void on(const Asker& asker, const schema::SetQueueMode& request);
  void on(const Asker& asker, const schema::GetLayers& request);
  void on(const Asker& asker, const schema::ShowPlan& request);
  void on(const Asker& asker, const schema::SetPlan& request);
  void on(const Asker& asker, const schema::ShowPolicy& request);
  void on(const Asker& asker, const schema::SetPolicy& request);
  void on(const Asker& asker, const schema::ExplainJob& request);
  void on(const Asker& asker, const schema::GetPolicyHistory& request);
  void on(const Asker& asker, const schema::GetStats& request);
  void on(const Asker& asker, const schema::Ping& request);
  void on(const Asker& asker, const schema::BeginBackup& request);
  void on(const Asker& asker, const schema::ShowBackup& request);
  void on(const Asker& asker, const schema::ReadBackup& request);
  void on(const Asker& asker, const schema::EndBackup& request);
  void on(const Asker& asker, const schema::BeginIntegrity& request);
  void on(const Asker& asker, const schema::ShowIntegrity& request);

  template <typename Reply>
  void reply(const Asker& asker, const Reply& message) {
    send(asker, schema::encode(message, asker.request_id));
  }
  void send(const Asker& asker, std::string frame) {
    parts_.outbox.send(asker.peer, std::move(frame));  // a client that left is no concern
    if (asker.weighed) flow_.leave(asker.peer);
  }
  void refuse(const Asker& asker, const Error& error);
  template <typename Reply>
  void reply_or_refuse(const Asker& asker, const Result<Reply>& result) {
    result ? reply(asker, *result) : refuse(asker, result.error());
  }

  // Has `work` done and replies with what `shape` makes of its result, or with its error.
  template <typename T, typename Shape>
  void answer(Executor& executor, const Asker& asker, Work<T> work, Shape shape);
  // The same for a query, which may have to be made again: once there is room for a long reply.
  template <typename T, typename Shape>
  void look_up(const Asker& asker, Work<T> query, Shape shape);
  // Calls `start` when the client's turn comes, with an asker whose reply ends it.
  void weigh(const Asker& asker, std::function<void(const Asker&)> start);
  // The asker with what it may do in a request of this kind; nothing where it may not ask, which it has been
  // told then. Asked when the request begins, and again when a wait ends: rights may have been taken away
  // meanwhile.
  std::optional<Asker> permit(const Asker& asker, std::string_view kind);
  [[nodiscard]] std::optional<Error> reason_to_refuse(const Asker& asker) const;
  [[nodiscard]] Error with_hint(const Error& error) const;
  void begin_wait(WaitingClient client, const std::set<schema::JobId>& open);
  void answer_wait(const WaitingClient& client);
  void add_progress(schema::JobInfo& info) const;

  Parts parts_;
  QueueLimits limits_;
  Waits waits_;
  Flow flow_;
  const std::int64_t started_ms_;  // steady
  bool draining_ = false;
  Counters counts_;
  LimitedWarning malformed_;
  LimitedWarning not_stored_{process::kDiskFails};
};

template <typename T, typename Shape>
void Clients::answer(Executor& executor, const Asker& asker, Work<T> work, Shape shape) {
  executor.post(std::move(work), [this, asker, shape](Result<T> result) {
    if (result) {
      reply(asker, shape(std::move(result).value()));
    } else {
      refuse(asker, result.error());
    }
  });
}

template <typename T, typename Shape>
void Clients::look_up(const Asker& asker, Work<T> query, Shape shape) {
  parts_.reader.post(std::move(query), [this, asker, shape](Result<T> result) {
    if (!result) return refuse(asker, result.error());
    std::string frame = schema::encode(shape(std::move(result).value()), asker.request_id);
    const bool waits =
        asker.weighed && flow_.put_back(asker.peer, frame.size(), [asker] { (*asker.again)(asker); });
    if (!waits) send(asker, std::move(frame));
  });
}

}  // namespace dslad::daemon
