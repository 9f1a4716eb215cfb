// Durable queues beside dslad's, started as processes of their own, and one connection to each: what one
// enqueue costs whoever waits for its acknowledgement.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace dslad::bench {

// One client. Throws std::runtime_error where the queue does not answer as it should.
class Producer {
 public:
  virtual ~Producer() = default;
  // Returns when the queue says that it has the text on disk.
  virtual void enqueue(const std::string& text) = 0;
};

// A child process that is ended with this.
class ChildProcess {
 public:
  // `words`: the program, looked for on PATH where it has no slash, and its arguments. `log`: where its
  // output goes.
  ChildProcess(const std::vector<std::string>& words, const std::filesystem::path& log);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

 private:
  pid_t pid_ = -1;
};

struct Queue {
  std::string name;
  std::unique_ptr<ChildProcess> process;
  std::function<std::unique_ptr<Producer>()> connect;
  int clients = 1 << 20;  // at most, at once
};

// Whether a program of this name is on PATH.
bool is_installed(const std::string& program);

// beanstalkd -f 0: each job is written through before it is acknowledged. State in `folder`.
Queue start_beanstalkd(const std::filesystem::path& folder);

// redis-server --appendonly yes --appendfsync always; a job is an RPUSH.
Queue start_redis(const std::filesystem::path& folder);

// No queue: appends to a file and calls fdatasync, in this process. What the disk allows one client.
Queue append_and_sync(const std::filesystem::path& folder);

// No queue either: what SQLite writes into its log for one insert of dslad's, ten pages and their headers one
// by one, over what was there before. What the disk allows a queue that is a database.
Queue rewrite_pages_and_sync(const std::filesystem::path& folder);

}  // namespace dslad::bench
