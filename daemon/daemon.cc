#include "daemon/daemon.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fmt/format.h>
#include <utility>
#include <zmq.hpp>

#include "base/process/log.h"
#include "base/process/service_manager.h"
#include "base/process/stop_signals.h"
#include "daemon/access/access.h"
#include "daemon/config_parts.h"
#include "daemon/dispatch/dispatcher.h"
#include "daemon/dispatch/retention.h"
#include "daemon/dispatch/worker_port.h"
#include "daemon/ingress/clients.h"
#include "daemon/metrics/metrics.h"
#include "daemon/net/connection_limit.h"
#include "daemon/net/doors.h"
#include "daemon/net/inflow.h"
#include "daemon/net/passed_sockets.h"
#include "daemon/net/publisher.h"
#include "daemon/net/zap.h"
#include "daemon/reload.h"
#include "daemon/service/feed.h"
#include "daemon/service/limited_warning.h"
#include "daemon/service/log_watch.h"
#include "daemon/service/wakeup.h"
#include "daemon/store/job_reads.h"
#include "daemon/store/layers.h"
#include "daemon/store/long_errand.h"
#include "daemon/store/migrate.h"
#include "daemon/store/policy_log.h"
#include "daemon/store/reader.h"
#include "daemon/store/settings.h"
#include "daemon/store/sqlite_log.h"
#include "daemon/store/state_dir.h"
#include "daemon/store/wal_check.h"
#include "daemon/store/writer.h"
#include "schema/endpoint.h"

namespace dslad::daemon {
namespace {

constexpr std::chrono::seconds kStoreTime{120};  // for migrating, recovering or emptying a large log
// Leases and waits are looked after at least so often; the longer no peer says anything, the less,
// but sooner than the expirer takes for a daemon that stood still.
constexpr std::int64_t kTickMs = 50, kLongestTickMs = 500, kTicksOfSilence = 5;
constexpr std::chrono::milliseconds kReceiveFor{
    5};                                  // of each socket in a turn, so that neither starves the other
constexpr int kClientFramesIn = 16;      // of one client, that may wait in memory
constexpr int kClientFramesOut = 4'096;  // replies come in bursts: one for each request of a commit
constexpr std::size_t kLongestMessage = schema::kMaxFrameBytes + (std::size_t{1} << 20);  // all its frames
constexpr std::size_t kHalfBytes = std::size_t{384} << 20;    // of all peers' messages that are not whole,
constexpr std::size_t kUnreadBytes = std::size_t{128} << 20;  // and of those that are and wait to be read
constexpr std::size_t kSubscriberBytes = std::size_t{64}
                                         << 10;   // a name for each of a thousand subscriptions
constexpr std::size_t kSubscriberBytesPerS = 64;  // pings
constexpr std::size_t kCurveBytesPerS = 256;      // likewise, and libzmq's memory for them
constexpr std::chrono::seconds kUnreadFor{20};    // a reply, while all that may lie unread does
constexpr int kWorkerFrames = 1'024;              // for one worker: its capacity bounds them

struct OpenedStore {
  Database database;
  Database to_read;
  std::vector<StoredLease> held;
  std::map<std::string, std::int64_t> turns;
  std::uint64_t plan_generation = 0;
  std::map<std::string, std::string> settings;
  std::vector<schema::PolicyChange> levels;  // of each model the latest
};

// What must be opened before the rest can be built, in the order of opening.
struct Opened {
  StateDir state_dir;
  process::StopSignals signals;
  Wakeup wakeup;
  OpenedStore store;
  std::unique_ptr<Access> access;
  std::unique_ptr<zmq::context_t> context;
  std::unique_ptr<Zap> zap;
  std::unique_ptr<Doors> jobs;
  std::unique_ptr<Doors> workers;
  std::unique_ptr<Publisher> events;
  std::unique_ptr<Metrics> metrics;  // null: none are served
};

// A log that is damaged is left as it is: SQLite would go on without what lies behind the damage.
Status look_at_log(const std::filesystem::path& database) {
  const Result<LogEnd> end = check_log(database);
  if (!end) return end.error();
  if (*end == LogEnd::kUnfinished) {
    process::log_warning(fmt::format(
        "the last commit in {}-wal is not whole and is left out: it was under way when the machine "
        "stopped; where that did not happen, look at the disk",
        database.string()));
  }
  return ok_status();
}

Result<OpenedStore> open_store(const StateDir& state_dir, const Config& config) {
  if (Status status = look_at_log(state_dir.database()); !status) return status.error();
  Result<Database> database = Database::open(state_dir.database(), static_cast<int>(config.busy_timeout_ms));
  if (!database) return database.error();
  if (Status status = migrate(*database); !status) {
    return status.error().with_context(state_dir.database().string());
  }
  if (Status status = make_shrinkable(*database); !status) {
    process::log_warning(fmt::format("{} will not shrink when jobs are forgotten: {}",
                                     state_dir.database().string(), status.error().message));
  }
  Result<Database> to_read =
      Database::open_to_read(state_dir.database(), static_cast<int>(config.busy_timeout_ms));
  if (!to_read) return to_read.error();
  Result<std::vector<StoredLease>> held = stored_leases(*database);
  if (!held) return held.error();
  if (Status status = all_workers_gone(*database); !status) return status.error();
  const Result<std::uint64_t> generation = last_generation(*database);
  if (!generation) return generation.error();
  Result<std::map<std::string, std::string>> settings = read_settings(*database);
  if (!settings) return settings.error();
  Result<std::map<std::string, std::int64_t>> turns = latest_turns(*database);
  if (!turns) return turns.error();
  Result<std::vector<schema::PolicyChange>> levels = latest_policy_changes(*database);
  if (!levels) return levels.error();
  return OpenedStore{std::move(database).value(),
                     std::move(to_read).value(),
                     std::move(held).value(),
                     std::move(turns).value(),
                     *generation,
                     std::move(settings).value(),
                     std::move(levels).value()};
}

Error with_remedy(const Error& error) {
  return {error.code,
          fmt::format("{}; nothing was changed. docs/database.md, 'Damage', tells how to restore a "
                      "backup or to save what is left",
                      error.message)};
}

Result<Opened> open_all(const Config& config) {
  Result<std::unique_ptr<Access>> access = Access::open(access_settings(config));
  if (!access) return access.error();
  Result<StateDir> state_dir = StateDir::open(config.state_dir);
  if (!state_dir) return state_dir.error();
  Result<process::StopSignals> signals = process::StopSignals::open({SIGHUP});
  if (!signals) return signals.error();
  Result<Wakeup> wakeup = Wakeup::open();
  if (!wakeup) return wakeup.error();
  process::ServiceManager().extend_timeout(kStoreTime);
  log_what_sqlite_says();
  Result<OpenedStore> store = open_store(*state_dir, config);
  if (!store && store.error().code == ErrorCode::kCorrupt) return with_remedy(store.error());
  if (!store) return store.error();
  PassedSockets passed = PassedSockets::take();
  const int connections =
      limit_connections(static_cast<int>(config.max_connections), schema::split_urls(config.workers_url));
  if (connections < config.max_connections) {
    process::log_info(fmt::format("the limit of open files allows {} connections", connections));
  }
  limit_inflow({.message_bytes = kLongestMessage,
                .half_bytes = kHalfBytes,
                .unread_bytes = kUnreadBytes,
                .subscriber_bytes = kSubscriberBytes,
                .subscriber_bytes_per_s = kSubscriberBytesPerS,
                .curve_bytes_per_s = kCurveBytesPerS});
  auto context = std::make_unique<zmq::context_t>();
  Result<std::unique_ptr<Zap>> zap = Zap::open(*context);
  if (!zap) return zap.error();
  const ServerCurve to_clients{(*access)->secret_key(), kClientDomain};
  const ServerCurve to_workers{(*access)->secret_key(), kWorkerDomain};
  const RouterLimits client_limits{static_cast<std::size_t>(config.max_frame_bytes), kClientFramesIn,
                                   kClientFramesOut};
  Result<std::unique_ptr<Doors>> jobs = Doors::bind(
      *context, config.jobs_url, client_limits, [fd = wakeup->fd()] { Wakeup::ring(fd); }, to_clients,
      passed);
  if (!jobs) return jobs.error();
  // The setting is about clients: a worker's frames are as large as the jobs that were accepted.
  Result<std::unique_ptr<Doors>> workers =
      Doors::bind(*context, config.workers_url, {schema::kMaxFrameBytes, kWorkerFrames, kWorkerFrames},
                  nullptr, to_workers, passed);
  if (!workers) return workers.error();
  Result<std::unique_ptr<Publisher>> events =
      Publisher::bind(*context, config.events_url, to_clients, passed);
  if (!events) return events.error();
  if (Status status = passed.all_claimed(); !status) return status.error();
  std::unique_ptr<Metrics> metrics;
  if (config.metrics_address != "off") {
    Result<std::unique_ptr<Metrics>> opened = Metrics::open(config.metrics_address);
    if (!opened) return opened.error();
    metrics = std::move(opened).value();
  }
  return Opened{std::move(state_dir).value(), std::move(signals).value(), std::move(wakeup).value(),
                std::move(store).value(),     std::move(access).value(),  std::move(context),
                std::move(zap).value(),       std::move(jobs).value(),    std::move(workers).value(),
                std::move(events).value(),    std::move(metrics)};
}

}  // namespace

// Members are declared in the order in which they need each other; they go in the reverse.
struct Daemon::Parts {
  Parts(Opened opened, const Config& opened_with, Reread rereads)
      : state_dir(std::move(opened.state_dir)),
        signals(std::move(opened.signals)),
        wakeup(std::move(opened.wakeup)),
        access(std::move(opened.access)),
        context(std::move(opened.context)),
        zap(std::move(opened.zap)),
        jobs(std::move(opened.jobs)),
        workers(std::move(opened.workers)),
        events(std::move(opened.events)),
        metrics(std::move(opened.metrics)),
        writer(std::move(opened.store.database), [this] { wakeup.ring(); }),
        reader(std::move(opened.store.to_read), [this] { wakeup.ring(); }),
        dispatcher(dispatch_config(opened_with), clock, writer, *workers, feed),
        copying(state_dir.database(), [this] { wakeup.ring(); }),
        checking(state_dir.database(), [this] { wakeup.ring(); }),
        backups(clock, state_dir.database(), state_dir.copy(), copying),
        checks(clock, checking),
        clients({clock, writer, reader, *jobs, dispatcher, feed, [this] { return counters(); },
                 [this](const Identity& who) { return access->client(who); },
                 schema::split_urls(opened_with.events_url), &backups, &checks},
                queue_limits(opened_with)),
        retention(retention_rules(opened_with), clock, writer),
        config(opened_with),
        reread(std::move(rereads)) {
    feed.add(*events);
    if (metrics) feed.add(*metrics);
    dispatcher.expect_back(opened.store.held);
    dispatcher.count_plans_from(opened.store.plan_generation);
    dispatcher.restore_policy(opened.store.settings);
    dispatcher.restore_levels(opened.store.levels);
    dispatcher.restore_turns(opened.store.turns);
    schema::QueueMode mode = schema::QueueMode::kOpen;
    if (schema::parse_word(opened.store.settings[std::string(kQueueModeSetting)], mode))
      dispatcher.restore_mode(mode);
    dispatcher.recall_agreements();
  }

  // Of a file that may not be there.
  static std::uint64_t bytes_of(const std::filesystem::path& file) {
    std::error_code code;
    const std::uintmax_t bytes = std::filesystem::file_size(file, code);
    return code ? 0 : bytes;
  }

  [[nodiscard]] Clients::Counters counters() const {
    const std::filesystem::path database = state_dir.database();
    const WriterStats stats = writer.stats();
    return {{"commits", stats.commits},
            {"commit_failures", stats.failures},
            {"commit_tasks", stats.errands},
            {"commit_tasks_largest", stats.largest},
            {"checkpoints", stats.checkpoints},
            {"damage_met", damage_met()},
            {"worker_messages_malformed", worker_port.malformed()},
            {"connections_refused", connections_refused()},
            {"connections_cut", connections_cut()},
            {"jobs_forgotten", retention.forgotten()},
            {"database_bytes", bytes_of(database)},
            {"wal_bytes", bytes_of(database.string() + "-wal")},
            {"wal_held_up_s", (stats.held_up_ms + 999) / 1000}};
  }

  StateDir state_dir;
  process::StopSignals signals;
  Wakeup wakeup;
  std::unique_ptr<Access> access;
  std::unique_ptr<zmq::context_t> context;
  std::unique_ptr<Zap> zap;
  std::unique_ptr<Doors> jobs;
  std::unique_ptr<Doors> workers;
  std::unique_ptr<Publisher> events;
  std::unique_ptr<Metrics> metrics;
  SystemClock clock;
  Feed feed{clock};
  Writer writer;
  Reader reader;
  Dispatcher dispatcher;
  LongErrand copying;
  LongErrand checking;
  Backups backups;
  Checks checks;
  Clients clients;
  Retention retention;
  WorkerPort worker_port{clock, *workers, dispatcher,
                         [this](const Identity& who) { return access->is_worker(who); }};
  LimitedWarning refused_keys{process::kKeyTurnedAway};
  process::ServiceManager service_manager;
  Config config;  // what is in force
  Reread reread;
  std::int64_t next_snapshot_ms = 0;          // steady; for the metrics
  std::int64_t heard_ms = clock.steady_ms();  // when a peer said something last
  LogWatch log_watch{state_dir.database().string()};
  bool log_held_up = false;
  bool stopping = false;
};

Daemon::Daemon(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Daemon::~Daemon() = default;

Result<std::unique_ptr<Daemon>> Daemon::open(const Config& config, Reread reread) {
  try {
    Result<Opened> opened = open_all(config);
    if (!opened) return opened.error();
    return std::unique_ptr<Daemon>(
        new Daemon(std::make_unique<Parts>(std::move(opened).value(), config, std::move(reread))));
  } catch (const std::exception& error) {  // ZeroMQ without memory or descriptors
    return Error{ErrorCode::kUnavailable, error.what()};
  }
}

Status Daemon::run() {
  process::log_info("ready",
                    {{"VERSION", DSLAD_VERSION}, {"DATABASE", parts_->state_dir.database().string()}});
  parts_->service_manager.ready();
  try {
    while (!parts_->stopping) turn();
  } catch (const std::exception& error) {  // the loop's own descriptors failed
    drain();
    return Error{ErrorCode::kInternal, error.what()};
  }
  drain();
  process::log_info("stopped");
  return ok_status();
}

void Daemon::turn() {
  Parts& parts = *parts_;
  const short jobs_events =
      parts.writer.is_full() ? short{0} : short{ZMQ_POLLIN};  // ZeroMQ holds the clients back
  std::vector<zmq_pollitem_t> items = {{nullptr, parts.wakeup.fd(), ZMQ_POLLIN, 0},
                                       {nullptr, parts.signals.fd(), ZMQ_POLLIN, 0},
                                       {parts.zap->handle(), 0, ZMQ_POLLIN, 0}};
  for (void* const door : parts.workers->handles()) items.push_back({door, 0, ZMQ_POLLIN, 0});
  for (void* const door : parts.jobs->handles()) items.push_back({door, 0, jobs_events, 0});
  const std::int64_t silent_ms = parts.clock.steady_ms() - parts.heard_ms;
  const long tick = static_cast<long>(std::clamp(silent_ms / kTicksOfSilence, kTickMs, kLongestTickMs));
  const int ready = zmq_poll(items.data(), static_cast<int>(items.size()), tick);
  if (ready < 0 && zmq_errno() != EINTR) throw zmq::error_t();
  const bool heard =
      std::any_of(items.begin() + 1, items.end(), [](const auto& item) { return item.revents != 0; });
  if (ready > 0 && heard) parts.heard_ms = parts.clock.steady_ms();
  parts.wakeup.clear();
  parts.writer.finish_ready();
  parts.reader.finish_ready();
  parts.backups.tick();
  parts.checks.tick();
  parts.clients.on_sent();
  parts.access->tick(parts.clock.steady_ms());
  if (parts.access->take_locked_out()) parts.events->let_in_anew();
  parts.events->tick(parts.clock.steady_ms());
  let_in();
  receive();
  // Their replies take the place of others' who read.
  if (parts.jobs->unsent() >= FlowLimits{}.unread_bytes_all)
    parts.jobs->drop_who_does_not_read(std::chrono::steady_clock::now() - kUnreadFor);
  for (const std::string& peer : parts.jobs->take_departed()) parts.clients.on_departed(peer);
  parts.workers->take_departed();  // a worker that goes is silent
  parts.dispatcher.tick();
  parts.clients.tick();
  parts.retention.tick();
  if (const std::uint64_t held_up_ms = parts.writer.stats().held_up_ms; held_up_ms > 0 || parts.log_held_up) {
    parts.log_held_up = held_up_ms > 0;
    parts.log_watch.look(Parts::bytes_of(parts.state_dir.database().string() + "-wal"), held_up_ms);
  }
  measure();
  if (database_moves()) parts.service_manager.progress();
  parts.service_manager.status(fmt::format("{} workers, {} jobs running", parts.dispatcher.workers().size(),
                                           parts.dispatcher.running()));
  if (const int signal = parts.signals.take(); signal != 0) on_signal(signal);
}

void Daemon::on_signal(int signal) {
  if (signal == SIGHUP) return reload();
  process::log_info("stopping", {{"SIGNAL", std::to_string(signal)}});
  parts_->stopping = true;
}

// A configuration with an error changes nothing.
void Daemon::reload() {
  Parts& parts = *parts_;
  parts.service_manager.reloading();
  Config asked;
  const ConfigErrors errors = parts.reread(asked);
  for (const std::string& error : errors) process::log_error(error);
  if (errors.empty()) {
    const Reload reload = plan_reload(parts.config, asked);
    for (const std::string& refused : reload.refused) process::log_warning(refused);
    for (const std::string& changed : reload.changed) process::log_info(changed);
    parts.config = reload.config;
    parts.clients.set_limits(queue_limits(parts.config));
    parts.retention.set_rules(retention_rules(parts.config));
    const DispatchConfig dispatch = dispatch_config(parts.config);
    parts.dispatcher.reconfigure(dispatch.retry, dispatch.plan_timeout_ms);
    parts.access->reload(access_settings(parts.config));
    process::set_log_level(parts.config.log_level);
    process::log_info("the configuration was read anew");
  } else {
    process::log_error(process::kConfigurationRefused,
                       "the configuration is wrong, so nothing of it was taken; mend it and reload again");
  }
  parts.service_manager.ready();
}

// A thread of the database that has stood still for longer than the watchdog's time is as good as a loop that
// does, and waiting for a lock is not standing still. The watchdog waits once more before it ends dslad.
bool Daemon::database_moves() const {
  const Parts& parts = *parts_;
  const auto bound = std::chrono::duration_cast<std::chrono::milliseconds>(parts.service_manager.watchdog()) +
                     std::chrono::milliseconds(parts.config.busy_timeout_ms);
  return parts.writer.still() <= bound && parts.reader.still() <= bound;
}

// Peers on tcp, or not.
void Daemon::let_in() {
  Parts& parts = *parts_;
  parts.zap->answer([&parts](const ZapQuestion& asked) {
    const std::int64_t now_ms = parts.clock.steady_ms();
    const bool good = parts.access->lets_in(asked.domain, asked.key, now_ms);
    if (!good)
      parts.refused_keys.warning(fmt::format("a peer at {} was turned away: its key is not one of the {}: {}",
                                             asked.address, asked.domain, asked.key),
                                 now_ms);
    return good;
  });
}

void Daemon::receive() {
  Parts& parts = *parts_;
  using Steady = std::chrono::steady_clock;
  for (const auto until = Steady::now() + kReceiveFor; Steady::now() < until;) {
    std::optional<Received> received = parts.workers->receive();
    if (!received) break;
    parts.worker_port.on_frame(received->peer, std::move(received->frame), received->from);
  }
  for (const auto until = Steady::now() + kReceiveFor; Steady::now() < until && !parts.writer.is_full();) {
    std::optional<Received> received = parts.jobs->receive();
    if (!received) break;
    parts.clients.on_frame(received->peer, std::move(received->frame), received->from);
  }
}

// Commits as they come; what is merely so, once a second.
void Daemon::measure() {
  Parts& parts = *parts_;
  if (!parts.metrics) return;
  for (const std::chrono::duration<double> time : parts.writer.take_times())
    parts.feed.measure(Measured::kCommitS, time.count());
  if (parts.clock.steady_ms() < parts.next_snapshot_ms) return;
  parts.next_snapshot_ms = parts.clock.steady_ms() + 1'000;
  parts.reader.post(
      Work([](Database& db) { return count_jobs(db); }),
      [&parts](Result<std::map<std::string, std::uint64_t>> jobs) {
        const schema::PolicyReply policy = parts.dispatcher.planner().report();
        parts.metrics->update({jobs ? std::move(jobs).value() : std::map<std::string, std::uint64_t>(),
                               parts.clients.counters(), parts.dispatcher.workers(), policy.plan,
                               static_cast<double>(policy.drain_ms) / 1'000,
                               static_cast<double>(parts.clients.uptime_ms()) / 1'000});
      });
}

// Workers are told nothing: their leases are in the database, and they come back to the next daemon.
void Daemon::drain() {
  parts_->service_manager.stopping();
  parts_->dispatcher.drain();
  parts_->clients.drain();
  receive();  // answers those who asked in the meantime
  parts_->service_manager.extend_timeout(kStoreTime);
  parts_->copying.stop();
  parts_->checking.stop();
  parts_->reader.stop();
  parts_->writer.stop();
}

}  // namespace dslad::daemon
