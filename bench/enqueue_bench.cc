// Durable enqueues a second, by one client and by sixteen at once, each waiting for its acknowledgement
// before it sends the next: dslad's over its real socket, and beside it the queues that are installed
// (beanstalkd, redis) and what the disk allows. Starts the dslad that lies beside this program, all states in
// a temporary folder. The disk is noisy: only rounds next to each other compare, so the queues take turns,
// and ratios are medians over the rounds. Checks that every acknowledged job is in dslad's database.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include <zmq.hpp>

#include "bench/queues.h"
#include "schema/codec.h"

namespace dslad::bench {
namespace {

using Seconds = std::chrono::duration<double>;
using SteadyClock = std::chrono::steady_clock;
constexpr double kLeastRatio = 5.0;
constexpr int kMany = 16;
constexpr int kTimeoutMs = 30'000;

class Client final : public Producer {
 public:
  explicit Client(const std::string& url) : socket_(context_, zmq::socket_type::dealer) {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::rcvtimeo, kTimeoutMs);
    socket_.connect(url);
  }

  void enqueue(const std::string& text) override {
    schema::Submit submit;
    submit.jobs.resize(1);
    submit.jobs[0].spec.document = text;
    if (const auto reply = ask<schema::Submitted>(submit); !reply)
      throw std::runtime_error("dslad: " + reply.error().message);
  }

  // Sends the request and waits for its reply.
  template <typename Reply, typename Request>
  Result<Reply> ask(const Request& request) {
    const std::string frame = schema::encode(request, ++last_id_);
    zmq::message_t reply;
    socket_.send(zmq::buffer(frame), zmq::send_flags::none);
    if (!socket_.recv(reply)) return Error{ErrorCode::kUnavailable, "dslad did not answer"};
    const Result<schema::Envelope> envelope = schema::Envelope::parse(reply.to_string());
    if (!envelope) return envelope.error();
    return schema::decode_reply<Reply>(*envelope);
  }

 private:
  zmq::context_t context_;  // with a thread of its own, as each client of dslad has
  zmq::socket_t socket_;
  std::uint64_t last_id_ = 0;
};

Queue start_dslad(const std::filesystem::path& folder) {
  std::filesystem::create_directory(folder);
  const auto url = [&](const char* name) { return fmt::format("ipc://{}/{}", folder.string(), name); };
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "dslad";
  auto process = std::make_unique<ChildProcess>(
      std::vector<std::string>{program, "--state-dir", folder / "state", "--jobs", url("jobs"), "--workers",
                               url("workers"), "--events", url("events"), "--set", "log.level=warning"},
      folder / "log");
  return {"dslad", std::move(process), [url = url("jobs")] { return std::make_unique<Client>(url); }};
}

class TempDir {
 public:
  explicit TempDir(const std::string& where) : path_(where + "/dslad-bench-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("cannot make a folder in " + where);
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] std::filesystem::path path() const { return path_; }

 private:
  std::string path_;
};

// Of a round: acknowledged enqueues, how many a second of all clients together, and how long each took.
struct Round {
  std::size_t jobs = 0;
  double per_second = 0;
  double p50_ms = 0, p99_ms = 0;
};

double percentile(std::vector<double>& sorted, double share) {
  return sorted[std::min(sorted.size() - 1,
                         static_cast<std::size_t>(share * static_cast<double>(sorted.size())))];
}

Round measure(const Queue& queue, int clients, const std::string& text, double seconds) {
  std::vector<std::unique_ptr<Producer>> producers;
  for (int i = 0; i < clients; ++i) {
    producers.push_back(queue.connect());
    producers.back()->enqueue(text);  // connected
  }
  std::mutex mutex;
  std::vector<double> all_ms;
  const auto start = SteadyClock::now();
  const auto end = start + std::chrono::duration_cast<SteadyClock::duration>(Seconds(seconds));
  std::vector<std::thread> threads;
  threads.reserve(producers.size());
  for (const auto& producer : producers) {
    threads.emplace_back([&, one = producer.get()] {
      std::vector<double> ms;
      for (auto began = SteadyClock::now(); began < end;) {
        one->enqueue(text);
        const auto now = SteadyClock::now();
        ms.push_back(Seconds(now - began).count() * 1000);
        began = now;
      }
      const std::scoped_lock lock(mutex);
      all_ms.insert(all_ms.end(), ms.begin(), ms.end());
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double took = Seconds(SteadyClock::now() - start).count();
  std::sort(all_ms.begin(), all_ms.end());
  return {all_ms.size() + producers.size(), static_cast<double>(all_ms.size()) / took,
          percentile(all_ms, 0.5), percentile(all_ms, 0.99)};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

template <typename Value>
double median_of(const std::vector<Round>& rounds, Value value) {
  std::vector<double> values;
  values.reserve(rounds.size());
  for (const Round& round : rounds) values.push_back(value(round));
  return median(std::move(values));
}

double median_ratio(const std::vector<Round>& a, const std::vector<Round>& b) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < a.size(); ++i) ratios.push_back(a[i].per_second / b[i].per_second);
  return median(std::move(ratios));
}

struct Settings {
  std::size_t bytes = 2048;
  int rounds = 5;
  double seconds = 2.0;
};

// By the queue's place and the number of clients.
using Results = std::map<std::pair<std::size_t, int>, std::vector<Round>>;

Results take_turns(const std::vector<Queue>& queues, const Settings& settings) {
  const std::string text(settings.bytes, 'x');
  Results results;
  for (int round = 0; round < settings.rounds; ++round) {
    for (const int clients : {1, kMany}) {
      for (std::size_t i = 0; i < queues.size(); ++i) {
        if (clients <= queues[i].clients)
          results[{i, clients}].push_back(measure(queues[i], clients, text, settings.seconds));
      }
    }
  }
  return results;
}

// Each queue's medians, and dslad's rate as a multiple of it.
void print(const std::vector<Queue>& queues, const Results& results) {
  fmt::print("{:20} {:>8} {:>10} {:>9} {:>9} {:>9}\n", "", "clients", "jobs/s", "p50 ms", "p99 ms",
             "dslad is");
  for (const auto& [key, rounds] : results) {
    const auto& [queue, clients] = key;
    fmt::print("{:20} {:8} {:10.0f} {:9.3f} {:9.3f} {:8.2f}x\n", queues[queue].name, clients,
               median_of(rounds, [](const Round& one) { return one.per_second; }),
               median_of(rounds, [](const Round& one) { return one.p50_ms; }),
               median_of(rounds, [](const Round& one) { return one.p99_ms; }),
               median_ratio(results.at({0, clients}), rounds));
  }
}

int judge(const Queue& dslad, const Results& results) {
  std::size_t acknowledged = 0;
  for (const int clients : {1, kMany}) {
    for (const Round& round : results.at({0, clients})) acknowledged += round.jobs;
  }
  const std::unique_ptr<Producer> producer = dslad.connect();
  auto& client = dynamic_cast<Client&>(*producer);
  const auto status = client.ask<schema::DaemonStatus>(schema::GetStatus{});
  const auto stats = client.ask<schema::StatsReply>(schema::GetStats{});
  if (!status || !stats || status->jobs.at("queued") != acknowledged) {
    fmt::print("FAILED: the database does not hold the {} acknowledged jobs\n", acknowledged);
    return 1;
  }
  const double ratio = median_ratio(results.at({0, kMany}), results.at({0, 1}));
  const bool reached = ratio >= kLeastRatio;
  fmt::print(
      "enqueue: {} clients are {:.2f} times as fast as one (limit >= {:.1f}) {}; {} commits for {} jobs, all "
      "of them in "
      "the database\n",
      kMany, ratio, kLeastRatio, reached ? "reached" : "MISSED", stats->counters.at("commits"), acknowledged);
  return reached ? 0 : 1;
}

int run(const std::filesystem::path& folder, const Settings& settings) {
  std::vector<Queue> queues;
  queues.push_back(start_dslad(folder / "dslad"));
  if (is_installed("beanstalkd")) queues.push_back(start_beanstalkd(folder / "beanstalkd"));
  if (is_installed("redis-server")) queues.push_back(start_redis(folder / "redis"));
  queues.push_back(append_and_sync(folder / "append"));
  queues.push_back(rewrite_pages_and_sync(folder / "pages"));
  const Results results = take_turns(queues, settings);
  print(queues, results);
  return judge(queues.front(), results);
}

}  // namespace
}  // namespace dslad::bench

int main(int argc, char** argv) {
  CLI::App app(
      "Durable enqueues: one client against sixteen, dslad beside beanstalkd and redis where they are "
      "installed.",
      "enqueue_bench");
  std::string where = std::filesystem::temp_directory_path();
  dslad::bench::Settings settings;
  app.add_option("--dir", where, "where states are kept: a folder on the disk to be measured");
  app.add_option("--bytes", settings.bytes, "size of each document");
  app.add_option("--rounds", settings.rounds, "rounds of each kind")->check(CLI::Range(1, 100));
  app.add_option("--seconds", settings.seconds, "length of a round")->check(CLI::Range(0.1, 600.0));
  CLI11_PARSE(app, argc, argv);
  try {
    const dslad::bench::TempDir folder(where);
    return dslad::bench::run(folder.path(), settings);
  } catch (const std::exception& error) {
    fmt::print(stderr, "enqueue_bench: {}\n", error.what());
    return 1;
  }
}
