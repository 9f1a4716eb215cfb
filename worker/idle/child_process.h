// A process that works for this one in idle time: it yields to everything else, and never outlives it.
//
// It runs under SCHED_IDLE and with idle I/O priority, on some of the processors, with a limit on its memory,
// and is what the kernel ends first when memory runs out. When the thread that started it ends, however that
// comes, the kernel kills it: by SIGKILL, since a stopped process acts on nothing else.
// Thread safety: let_run() from any thread; everything else from the one that starts it.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "base/process/descriptor.h"
#include "base/result.h"

namespace dslad::worker {

class ChildProcess {
 public:
  struct Limits {
    int cpus = 1;                  // that it may run on
    std::size_t memory_bytes = 0;  // of private memory; 0: no limit
  };

  ChildProcess() = default;
  ~ChildProcess() { end(std::chrono::milliseconds{0}); }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Starts `command`, its output going where output() reads. Where let_run(false) was called last it is
  // stopped at once. REQUIRES: none runs. Errors: kNotFound, kUnavailable: the program cannot be started.
  Status start(const std::vector<std::string>& command, const Limits& limits);

  // Stops it where it is (SIGSTOP), or lets it go on; also those that are started later. Returns when the
  // signal is on its way, without waiting.
  void let_run(bool run);

  // What it has written since the last call; waits up to `patience` for something. Empty: nothing.
  std::string output(std::chrono::milliseconds patience);

  // How it ended, as waitpid() says it; nothing while it runs.
  std::optional<int> ended();

  // Asks it to end, and makes it after `patience`. Until then it runs as others do, where this process may
  // grant that (RLIMIT_NICE): what it has to write down must not wait for a busy machine.
  void end(std::chrono::milliseconds patience);

 private:
  std::optional<int> wait_locked(int options);

  std::mutex mutex_;
  pid_t pid_ = -1;    // -1: none runs
  bool run_ = false;  // else stopped
  std::optional<process::Descriptor> output_;
};

}  // namespace dslad::worker
