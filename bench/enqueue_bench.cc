// Durable enqueues a second over the daemon's real socket, by one client and by sixteen at once, each waiting
// for its acknowledgement before it sends the next. Starts the dslad that lies beside this program, with its
// state in a temporary folder. Checks first that every acknowledged job is in the database, then prints the
// rates of alternating rounds (the disk is noisy: only rounds next to each other compare) and the median of
// their ratios beside the limit.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <signal.h>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>
#include <zmq.hpp>

#include "schema/codec.h"

namespace dslad::bench {
namespace {

using Seconds = std::chrono::duration<double>;
using SteadyClock = std::chrono::steady_clock;
constexpr double kLeastRatio = 5.0;
constexpr int kTimeoutMs = 30'000;

class Client {
 public:
  Client(zmq::context_t& context, const std::string& url) : socket_(context, zmq::socket_type::dealer) {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::rcvtimeo, kTimeoutMs);
    socket_.connect(url);
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
  zmq::socket_t socket_;
  std::uint64_t last_id_ = 0;
};

// A child process that is ended with this.
class DaemonProcess {
 public:
  explicit DaemonProcess(const std::filesystem::path& folder)
      : url_(fmt::format("ipc://{}/jobs", folder.string())) {
    const std::string program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "dslad";
    const std::vector<std::string> words = {program,
                                            "--state-dir",
                                            folder / "state",
                                            "--jobs",
                                            url_,
                                            "--workers",
                                            fmt::format("ipc://{}/workers", folder.string()),
                                            "--events",
                                            fmt::format("ipc://{}/events", folder.string()),
                                            "--set",
                                            "log.level=warning"};
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (const std::string& word : words)
      arguments.push_back(const_cast<char*>(word.c_str()));  // execv's type
    arguments.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::execv(program.c_str(), arguments.data());
      ::_exit(127);
    }
  }
  ~DaemonProcess() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  [[nodiscard]] const std::string& url() const { return url_; }

 private:
  std::string url_;
  pid_t pid_ = -1;
};

class TempDir {
 public:
  explicit TempDir(const std::string& where) : path_(where + "/dslad-bench-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("cannot make a folder in " + where);
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

schema::Submit request(std::size_t bytes) {
  schema::Submit submit;
  submit.jobs.resize(1);
  submit.jobs[0].spec.document.assign(bytes, 'x');
  return submit;
}

struct Load {
  std::string url;
  schema::Submit submit;
  double seconds = 2.0;
};

// Acknowledged enqueues a second of `clients` clients together.
double measure(zmq::context_t& context, const Load& load, int clients,
               std::atomic<std::uint64_t>& acknowledged) {
  std::atomic<std::uint64_t> done{0};
  const auto start = SteadyClock::now();
  const auto end = start + std::chrono::duration_cast<SteadyClock::duration>(Seconds(load.seconds));
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(clients));
  for (int i = 0; i < clients; ++i) {
    threads.emplace_back([&] {
      Client client(context, load.url);
      while (SteadyClock::now() < end) {
        if (!client.ask<schema::Submitted>(load.submit)) return;
        ++done;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  acknowledged += done;
  return static_cast<double>(done) / Seconds(SteadyClock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int run(const Load& load, int rounds) {
  zmq::context_t context;
  std::atomic<std::uint64_t> acknowledged{0};
  std::vector<double> one, many, ratios;
  for (int round = 0; round < rounds; ++round) {
    one.push_back(measure(context, load, 1, acknowledged));
    many.push_back(measure(context, load, 16, acknowledged));
    ratios.push_back(many.back() / one.back());
    fmt::print("round {}: 1 client {:8.0f}/s   16 clients {:8.0f}/s   ratio {:5.2f}\n", round + 1, one.back(),
               many.back(), ratios.back());
  }
  Client client(context, load.url);
  const auto status = client.ask<schema::DaemonStatus>(schema::GetStatus{});
  const auto stats = client.ask<schema::StatsReply>(schema::GetStats{});
  if (!status || !stats || status->jobs.at("queued") != acknowledged) {
    fmt::print("FAILED: the database does not hold the {} acknowledged jobs\n", acknowledged.load());
    return 1;
  }
  const bool reached = median(ratios) >= kLeastRatio;
  fmt::print(
      "enqueue: 1 client {:.0f}/s, 16 clients {:.0f}/s, ratio {:.2f} (limit >= {:.1f}) {}; {} commits for {} "
      "jobs, all of them in the database\n",
      median(one), median(many), median(ratios), kLeastRatio, reached ? "reached" : "MISSED",
      stats->counters.at("commits"), acknowledged.load());
  return reached ? 0 : 1;
}

}  // namespace
}  // namespace dslad::bench

int main(int argc, char** argv) {
  CLI::App app("Durable enqueues over the socket: one client against sixteen.", "enqueue_bench");
  std::string where = std::filesystem::temp_directory_path();
  std::size_t bytes = 2048;
  int rounds = 5;
  double seconds = 2.0;
  app.add_option("--dir", where, "where the state is kept: a folder on the disk to be measured");
  app.add_option("--bytes", bytes, "size of each document");
  app.add_option("--rounds", rounds, "rounds of each kind")->check(CLI::Range(1, 100));
  app.add_option("--seconds", seconds, "length of a round")->check(CLI::Range(0.1, 600.0));
  CLI11_PARSE(app, argc, argv);
  try {
    const dslad::bench::TempDir folder(where);
    const dslad::bench::DaemonProcess daemon(folder.path());
    return dslad::bench::run({daemon.url(), dslad::bench::request(bytes), seconds}, rounds);
  } catch (const std::exception& error) {
    fmt::print(stderr, "enqueue_bench: {}\n", error.what());
    return 1;
  }
}
