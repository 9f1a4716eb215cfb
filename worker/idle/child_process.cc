#include "worker/idle/child_process.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <unistd.h>

namespace dslad::worker {
namespace {

// linux/ioprio.h, which not every system has.
constexpr int kIoprioWhoProcess = 1, kIoprioClassNone = 0, kIoprioClassIdle = 3, kIoprioClassShift = 13;

// All that the child needs between vfork() and exec, made before: it shares this process's memory until then,
// and must not change it.
struct Launch {
  std::vector<char*> arguments;
  cpu_set_t cpus = {};
  std::size_t memory_bytes = 0;
  pid_t parent = -1;
  int output = -1;
  int failure = -1;  // where errno of exec goes; closed by it
};

// Of the processors that this thread may run on, the last ones: whoever counts from 0 is less in the way.
cpu_set_t last_cpus(int wanted) {
  cpu_set_t all, some;
  CPU_ZERO(&all);
  CPU_ZERO(&some);
  if (sched_getaffinity(0, sizeof all, &all) != 0) return all;  // empty: it is not set
  for (int cpu = CPU_SETSIZE - 1; cpu >= 0 && CPU_COUNT(&some) < wanted; --cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &all)) CPU_SET(static_cast<std::size_t>(cpu), &some);
  }
  return some;
}

// In the child: system calls only. What is a courtesy may fail, on an old kernel, say; the work goes on.
[[noreturn]] void become(const Launch& launch) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != launch.parent) _exit(1);  // it has ended before that was said
  setpgid(0, 0);                             // Ctrl-C is for the parent, which decides what becomes of this
  const int oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  [[maybe_unused]] const ssize_t told = oom < 0 ? 0 : write(oom, "1000", 4);
  if (launch.memory_bytes > 0) {
    const rlimit limit = {launch.memory_bytes, launch.memory_bytes};
    setrlimit(RLIMIT_DATA, &limit);
  }
  if (CPU_COUNT(&launch.cpus) > 0) sched_setaffinity(0, sizeof launch.cpus, &launch.cpus);
  dup2(launch.output, STDOUT_FILENO);
  dup2(launch.output, STDERR_FILENO);
  const int nothing = open("/dev/null", O_RDONLY);
  if (nothing >= 0) dup2(nothing, STDIN_FILENO);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);  // the parent reads its signals instead
  syscall(SYS_ioprio_set, kIoprioWhoProcess, 0, kIoprioClassIdle << kIoprioClassShift);
  const sched_param any = {};
  sched_setscheduler(0, SCHED_IDLE, &any);  // last: the parent waits for exec
  execv(launch.arguments.front(), launch.arguments.data());
  const int error = errno;
  [[maybe_unused]] const ssize_t said = write(launch.failure, &error, sizeof error);
  _exit(127);
}

// vfork: fork would copy the page tables of all weights, and while it does the engine could not touch memory.
__attribute__((noinline)) pid_t start_child(const Launch& launch) {
  const pid_t pid = vfork();  // NOLINT(clang-analyzer-security.insecureAPI.vfork)
  if (pid == 0) become(launch);
  return pid;
}

// Takes all threads of the process out of the idle classes: what is asked to end would else wait for a busy
// machine longer than anybody waits for it. The kernel lets those do this whose RLIMIT_NICE allows their
// niceness, or root; for others it is a courtesy that fails.
void leave_idle_classes(pid_t pid) {
  std::error_code gone;
  std::filesystem::directory_iterator task(fmt::format("/proc/{}/task", pid), gone);
  for (const std::filesystem::directory_iterator end; !gone && task != end; task.increment(gone)) {
    const pid_t thread = static_cast<pid_t>(std::atoi(task->path().filename().c_str()));
    const sched_param any = {};
    sched_setscheduler(thread, SCHED_OTHER, &any);
    syscall(SYS_ioprio_set, kIoprioWhoProcess, thread, kIoprioClassNone << kIoprioClassShift);
  }
}

struct Pipe {
  process::Descriptor read, write;
};

Result<Pipe> make_pipe() {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) == 0) return Pipe{process::Descriptor(ends[0]), process::Descriptor(ends[1])};
  return Error{ErrorCode::kUnavailable, fmt::format("no pipe is left: {}", strerror(errno))};
}

}  // namespace

Status ChildProcess::start(const std::vector<std::string>& command, const Limits& limits) {
  auto output = make_pipe();
  if (!output) return output.error();
  auto failure = make_pipe();
  if (!failure) return failure.error();
  fcntl(output->read.get(), F_SETFL, O_NONBLOCK);
  Launch launch;
  for (const std::string& word : command) launch.arguments.push_back(const_cast<char*>(word.c_str()));
  launch.arguments.push_back(nullptr);
  launch.cpus = last_cpus(limits.cpus);
  launch.memory_bytes = limits.memory_bytes;
  launch.parent = getpid();
  launch.output = output->write.get();
  launch.failure = failure->write.get();
  const pid_t pid = start_child(launch);  // not under the mutex: the child is in no hurry to exec
  int error = pid < 0 ? errno : 0;
  { const process::Descriptor written = std::move(failure->write); }
  if (pid > 0 && read(failure->read.get(), &error, sizeof error) != sizeof error) error = 0;
  const std::lock_guard lock(mutex_);
  pid_ = pid;
  if (error == 0) {
    output_.reset();
    output_.emplace(std::move(output->read));
    if (!run_) kill(pid_, SIGSTOP);
    return ok_status();
  }
  if (pid > 0) wait_locked(0);
  return Error{error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kUnavailable,
               fmt::format("{} cannot be started: {}", command.front(), strerror(error))};
}

void ChildProcess::let_run(bool run) {
  const std::lock_guard lock(mutex_);
  if (run == run_) return;
  run_ = run;
  if (pid_ > 0) kill(pid_, run ? SIGCONT : SIGSTOP);
}

std::string ChildProcess::output(std::chrono::milliseconds patience) {
  if (!output_) {  // closed, so it is about to end
    std::this_thread::sleep_for(patience);
    return {};
  }
  pollfd ready = {output_->get(), POLLIN, 0};
  if (poll(&ready, 1, static_cast<int>(patience.count())) <= 0) return {};
  std::string text(1 << 12, '\0');
  const ssize_t size = read(output_->get(), text.data(), text.size());
  if (size == 0) output_.reset();  // it has closed its end
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  return text;
}

// The mutex keeps let_run() from signalling a process that took the number of one that is gone.
std::optional<int> ChildProcess::wait_locked(int options) {
  int status = 0;
  if (pid_ <= 0 || waitpid(pid_, &status, options) != pid_) return std::nullopt;
  pid_ = -1;
  return status;
}

std::optional<int> ChildProcess::ended() {
  const std::lock_guard lock(mutex_);
  return wait_locked(WNOHANG);
}

void ChildProcess::end(std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  std::unique_lock lock(mutex_);
  if (pid_ <= 0) return;
  if (patience.count() > 0) leave_idle_classes(pid_);
  kill(pid_, SIGTERM);
  kill(pid_, SIGCONT);  // else it would not hear of it
  while (!wait_locked(WNOHANG)) {
    if (std::chrono::steady_clock::now() >= deadline) {
      kill(pid_, SIGKILL);
      wait_locked(0);
      return;
    }
    lock.unlock();
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
    lock.lock();
  }
}

}  // namespace dslad::worker
