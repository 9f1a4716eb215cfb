#include "bench/queues.h"

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace dslad::bench {
namespace {

constexpr int kTries = 500;  // to connect, 10 ms apart: a process takes its time to listen

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(fmt::format("{}: {}", what, std::strerror(errno)));
}

// A stream of lines over a local socket.
class LineConnection {
 public:
  explicit LineConnection(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    for (int i = 0; i < kTries; ++i) {
      fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return;
      ::close(fd_);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    fail(path);
  }
  ~LineConnection() { ::close(fd_); }
  LineConnection(const LineConnection&) = delete;
  LineConnection& operator=(const LineConnection&) = delete;

  void send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent < 0) fail("send");
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  // One reply is under way at a time, and it is short.
  [[nodiscard]] std::string line() const {
    std::string text;
    while (!text.ends_with("\r\n")) {
      char piece[128];
      const ssize_t got = ::recv(fd_, piece, sizeof(piece), 0);
      if (got <= 0) fail("recv");
      text.append(piece, static_cast<std::size_t>(got));
    }
    return text;
  }

 private:
  int fd_ = -1;
};

class Beanstalk final : public Producer {
 public:
  explicit Beanstalk(const std::string& path) : connection_(path) {}
  void enqueue(const std::string& text) override {
    connection_.send(fmt::format("put 0 0 60 {}\r\n{}\r\n", text.size(), text));
    if (const std::string reply = connection_.line(); !reply.starts_with("INSERTED"))
      throw std::runtime_error("beanstalkd: " + reply);
  }

 private:
  LineConnection connection_;
};

class Redis final : public Producer {
 public:
  explicit Redis(const std::string& path) : connection_(path) {}
  void enqueue(const std::string& text) override {
    connection_.send(fmt::format("*3\r\n$5\r\nRPUSH\r\n$4\r\njobs\r\n${}\r\n{}\r\n", text.size(), text));
    if (const std::string reply = connection_.line(); !reply.starts_with(":"))
      throw std::runtime_error("redis: " + reply);
  }

 private:
  LineConnection connection_;
};

class AppendedFile final : public Producer {
 public:
  explicit AppendedFile(const std::string& path)
      : fd_(::open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600)) {
    if (fd_ < 0) fail(path);
  }
  ~AppendedFile() override { ::close(fd_); }
  AppendedFile(const AppendedFile&) = delete;
  AppendedFile& operator=(const AppendedFile&) = delete;
  void enqueue(const std::string& text) override {
    if (::write(fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) fail("write");
    if (::fdatasync(fd_) != 0) fail("fdatasync");
  }

 private:
  int fd_;
};

class RewrittenPages final : public Producer {
 public:
  explicit RewrittenPages(const std::string& path)
      : fd_(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) {
    if (fd_ < 0) fail(path);
    for (int i = 0; i < kPages; i += kAtOnce) write_pages();
    if (::fsync(fd_) != 0) fail("fsync");
  }
  ~RewrittenPages() override { ::close(fd_); }
  RewrittenPages(const RewrittenPages&) = delete;
  RewrittenPages& operator=(const RewrittenPages&) = delete;
  void enqueue(const std::string& /*text*/) override {
    write_pages();
    if (::fdatasync(fd_) != 0) fail("fdatasync");
  }

 private:
  static constexpr int kPages = 1'000, kAtOnce = 10;  // as long as SQLite's log grows
  static constexpr std::size_t kHeader = 24, kPage = 4'096;

  void write_pages() {
    for (int i = 0; i < kAtOnce; ++i) {
      for (const std::size_t bytes : {kHeader, kPage}) {
        if (::pwrite(fd_, page_.data(), bytes, at_) != static_cast<ssize_t>(bytes)) fail("pwrite");
        at_ += static_cast<off_t>(bytes);
      }
    }
    if (at_ >= static_cast<off_t>(kPages * (kHeader + kPage))) at_ = 0;
  }

  int fd_;
  off_t at_ = 0;
  std::string page_ = std::string(kPage, 'x');
};

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& words, const std::filesystem::path& log) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words)
    arguments.push_back(const_cast<char*>(word.c_str()));  // execvp's type
  arguments.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ != 0) return;
  const int out = ::open(log.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(out, STDERR_FILENO);
  ::execvp(arguments.front(), arguments.data());
  ::_exit(127);
}

ChildProcess::~ChildProcess() {
  ::kill(pid_, SIGTERM);
  ::waitpid(pid_, nullptr, 0);
}

bool is_installed(const std::string& program) {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (::access((std::filesystem::path(folder) / program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

Queue start_beanstalkd(const std::filesystem::path& folder) {
  std::filesystem::create_directory(folder);
  const std::string socket = folder / "socket";
  auto process = std::make_unique<ChildProcess>(
      std::vector<std::string>{"beanstalkd", "-f", "0", "-b", folder, "-l", "unix:" + socket},
      folder / "log");
  return {"beanstalkd -f 0", std::move(process), [socket] { return std::make_unique<Beanstalk>(socket); }};
}

Queue start_redis(const std::filesystem::path& folder) {
  std::filesystem::create_directory(folder);
  const std::string socket = folder / "socket";
  auto process = std::make_unique<ChildProcess>(
      std::vector<std::string>{"redis-server", "--port", "0", "--unixsocket", socket, "--dir", folder,
                               "--appendonly", "yes", "--appendfsync", "always", "--save", "",
                               "--auto-aof-rewrite-percentage", "0"},
      folder / "log");
  return {"redis, always", std::move(process), [socket] { return std::make_unique<Redis>(socket); }};
}

Queue append_and_sync(const std::filesystem::path& folder) {
  std::filesystem::create_directory(folder);
  return {"append, fdatasync", nullptr,
          [file = folder / "file"] { return std::make_unique<AppendedFile>(file); }, 1};
}

Queue rewrite_pages_and_sync(const std::filesystem::path& folder) {
  std::filesystem::create_directory(folder);
  return {"ten pages, fdatasync", nullptr,
          [file = folder / "file"] { return std::make_unique<RewrittenPages>(file); }, 1};
}

}  // namespace dslad::bench
