#include "daemon/metrics/metrics.h"

#include <array>
#include <exception>
#include <fmt/format.h>
#include <mutex>
#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <utility>

namespace dslad::daemon {
namespace {

using Labels = std::vector<prometheus::ClientMetric::Label>;
using Families = std::vector<prometheus::MetricFamily>;

// From what a commit takes to what a night's queue does.
const prometheus::Histogram::BucketBoundaries kShort = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                        0.1,    0.25,  0.5,    1,     2.5,  5};
const prometheus::Histogram::BucketBoundaries kLong = {0.1, 0.25, 0.5, 1,   2.5,  5,        10,       30,
                                                       60,  120,  300, 900, 3600, 4 * 3600, 12 * 3600};

// Counters of `stats`, by the names that they have here.
struct Named {
  const char* counter;
  const char* metric;
  const char* help;
  bool grows;  // else it goes up and down
};
constexpr std::array kNamed = {
    Named{"requests", "dslad_requests_total", "Requests of clients", true},
    Named{"requests_malformed", "dslad_requests_malformed_total", "Frames of clients that could not be read",
          true},
    Named{"requests_waiting", "dslad_requests_waiting", "Requests that wait until their client reads", false},
    Named{"reply_bytes_unread", "dslad_reply_unread_bytes", "Replies that clients have not read", false},
    Named{"connections_refused", "dslad_connections_refused_total", "Connections that were turned away",
          true},
    Named{"connections_cut", "dslad_connections_cut_total",
          "Connections that were cut off because of what they sent of messages that were not whole", true},
    Named{"jobs_submitted", "dslad_jobs_submitted_total", "Jobs that were taken", true},
    Named{"jobs_duplicate", "dslad_jobs_duplicate_total", "Submits of jobs that were known by their keys",
          true},
    Named{"jobs_forgotten", "dslad_jobs_forgotten_total", "Jobs that were forgotten because of their age",
          true},
    Named{"waits_open", "dslad_waits", "Waits for jobs to end", false},
    Named{"commits", "dslad_commits_total", "Transactions that are on disk", true},
    Named{"commit_failures", "dslad_commit_failures_total", "Transactions that failed", true},
    Named{"worker_messages_malformed", "dslad_worker_messages_malformed_total",
          "Frames of workers that could not be read", true},
    Named{"database_bytes", "dslad_database_bytes", "Size of the database", false},
    Named{"wal_bytes", "dslad_wal_bytes", "Size of its write-ahead log", false},
    Named{"wal_held_up_s", "dslad_wal_held_up_seconds",
          "For how long somebody who reads has kept the write-ahead log from being emptied", false},
    Named{"damage_met", "dslad_damage_met_total", "Times that a damaged page of the database was met", true},
};

class Writer {
 public:
  explicit Writer(Families& families) : families_(families) {}

  void family(const char* name, const char* help, prometheus::MetricType type) {
    families_.push_back({name, help, type, {}});
  }

  // One more value of the latest family.
  void add(double value, Labels labels = {}) {
    prometheus::ClientMetric metric;
    metric.label = std::move(labels);
    if (families_.back().type == prometheus::MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
    families_.back().metric.push_back(std::move(metric));
  }

  void gauge(const char* name, const char* help, double value) {
    family(name, help, prometheus::MetricType::Gauge);
    add(value);
  }

 private:
  Families& families_;
};

double number(std::uint64_t count) {
  return static_cast<double>(count);
}

// Workers by their label and instance: labels alone may be equal.
Labels of(const schema::WorkerInfo& worker) {
  return {{"worker", worker.name}, {"instance_id", worker.instance}};
}

void write_workers(const std::vector<schema::WorkerInfo>& workers, Writer& writer) {
  writer.gauge("dslad_workers", "Workers that are connected", number(workers.size()));
  const auto each = [&](const char* name, const char* help, auto value) {
    writer.family(name, help, prometheus::MetricType::Gauge);
    for (const schema::WorkerInfo& worker : workers) writer.add(value(worker), of(worker));
  };
  using Info = const schema::WorkerInfo&;
  each("dslad_worker_plan", "The plan in force", [](Info w) { return number(w.plan); });
  each("dslad_worker_jobs", "Jobs that it has", [](Info w) { return number(w.running); });
  each("dslad_worker_prefill_tokens_per_second", "Its rate of late",
       [](Info w) { return w.engine.prefill_tokens_per_s; });
  each("dslad_worker_decode_tokens_per_second", "Its rate of late",
       [](Info w) { return w.engine.decode_tokens_per_s; });
  each("dslad_worker_reused_tokens", "Of prompts, that it did not read again; since its start",
       [](Info w) { return number(w.engine.reused_tokens); });
  each("dslad_worker_cache_bytes", "Memory for keys, values and states",
       [](Info w) { return number(w.cache_bytes); });
  each("dslad_worker_cache_used_bytes", "Of it, what sequences have",
       [](Info w) { return number(w.engine.kv_bytes_used + w.engine.state_bytes_used); });
}

}  // namespace

// The latest snapshot, as families.
class Metrics::Snapshots final : public prometheus::Collectable {
 public:
  void set(MetricsSnapshot snapshot) {
    const std::lock_guard lock(mutex_);
    snapshot_ = std::move(snapshot);
  }

  [[nodiscard]] Families Collect() const override {
    const std::lock_guard lock(mutex_);
    Families families;
    Writer writer(families);
    writer.family("dslad_info", "The daemon's version", prometheus::MetricType::Gauge);
    writer.add(1, {{"version", DSLAD_VERSION}});
    writer.gauge("dslad_uptime_seconds", "Since the daemon's start", snapshot_.uptime_s);
    writer.family("dslad_jobs", "Jobs in the database", prometheus::MetricType::Gauge);
    for (const auto& [state, jobs] : snapshot_.jobs) writer.add(number(jobs), {{"state", state}});
    for (const Named& named : kNamed) {
      const auto found = snapshot_.counters.find(named.counter);
      if (found == snapshot_.counters.end()) continue;
      writer.family(named.metric, named.help,
                    named.grows ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge);
      writer.add(number(found->second));
    }
    writer.gauge("dslad_policy_plan", "The largest plan that the policy gives a job now",
                 number(snapshot_.policy_plan));
    writer.gauge("dslad_predicted_drain_seconds", "Until all jobs are expected to be done; 0: not known",
                 snapshot_.drain_s);
    write_workers(snapshot_.workers, writer);
    return families;
  }

 private:
  mutable std::mutex mutex_;
  MetricsSnapshot snapshot_;
};

struct Metrics::Parts {
  explicit Parts(const std::string& address) : exposer(address, 1) {
    exposer.RegisterCollectable(registry);
    exposer.RegisterCollectable(snapshots);
  }

  prometheus::Histogram& histogram(const char* name, const char* help,
                                   const prometheus::Histogram::BucketBoundaries& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(*registry).Add({}, buckets);
  }
  prometheus::Counter& counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(*registry).Add({});
  }

  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  std::shared_ptr<Snapshots> snapshots = std::make_shared<Snapshots>();
  prometheus::Histogram& enqueue =
      histogram("dslad_enqueue_seconds", "From a submit's arrival to its acknowledgement", kShort);
  prometheus::Histogram& commit =
      histogram("dslad_commit_seconds", "Of one transaction, all its work included", kShort);
  prometheus::Histogram& queue_wait =
      histogram("dslad_queue_wait_seconds", "From a job's submit to the moment a worker got it", kLong);
  prometheus::Histogram& prefill = histogram("dslad_prefill_seconds", "Of a job that succeeded", kLong);
  prometheus::Histogram& decode = histogram("dslad_decode_seconds", "Of a job that succeeded", kLong);
  prometheus::Counter& prompt_tokens = counter("dslad_prompt_tokens_total", "Of jobs that succeeded");
  prometheus::Counter& output_tokens = counter("dslad_output_tokens_total", "Of jobs that succeeded");
  prometheus::Family<prometheus::Counter>& ended = prometheus::BuildCounter()
                                                       .Name("dslad_jobs_ended_total")
                                                       .Help("Jobs that ended since the daemon's start")
                                                       .Register(*registry);
  prometheus::Exposer exposer;  // last: it serves all of the above
};

Metrics::Metrics(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {
  for (const auto state : {schema::JobState::kSucceeded, schema::JobState::kFailed,
                           schema::JobState::kCancelled, schema::JobState::kExpired})
    parts_->ended.Add({{"state", std::string(schema::to_string(state))}});  // 0 is a value, too
}
Metrics::~Metrics() = default;

Result<std::unique_ptr<Metrics>> Metrics::open(const std::string& address) {
  try {
    return std::unique_ptr<Metrics>(new Metrics(std::make_unique<Parts>(address)));
  } catch (const std::exception& error) {
    return Error{ErrorCode::kUnavailable,
                 fmt::format("cannot serve metrics at {}: {}; give metrics.listen a free ADDRESS:PORT",
                             address, error.what())};
  }
}

void Metrics::on_event(const schema::Event& event) {
  if (!event.state || !schema::is_final(*event.state)) return;
  parts_->ended.Add({{"state", std::string(schema::to_string(*event.state))}}).Increment();
}

void Metrics::on_measure(const Measure& measure) {
  switch (measure.what) {
    case Measured::kEnqueueS:
      return parts_->enqueue.Observe(measure.amount);
    case Measured::kCommitS:
      return parts_->commit.Observe(measure.amount);
    case Measured::kQueueWaitS:
      return parts_->queue_wait.Observe(measure.amount);
    case Measured::kPrefillS:
      return parts_->prefill.Observe(measure.amount);
    case Measured::kDecodeS:
      return parts_->decode.Observe(measure.amount);
    case Measured::kPromptTokens:
      return parts_->prompt_tokens.Increment(measure.amount);
    case Measured::kOutputTokens:
      return parts_->output_tokens.Increment(measure.amount);
  }
}

void Metrics::update(MetricsSnapshot snapshot) {
  parts_->snapshots->set(std::move(snapshot));
}

}  // namespace dslad::daemon
