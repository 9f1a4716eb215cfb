#include "ctl/follow.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <set>
#include <thread>

#include "ctl/format.h"
#include "ctl/interrupt.h"
#include "ctl/progress.h"
#include "ctl/terminal.h"
#include "schema/limits.h"

namespace dslad::ctl {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kRedraw{200};
constexpr milliseconds kPlainSlice{500};
constexpr milliseconds kResend{2000};  // a restarted daemon has forgotten the request
constexpr milliseconds kPause{100};    // a daemon that stops refuses at once

milliseconds whole_ms(Clock::duration duration) {
  return std::chrono::ceil<milliseconds>(duration);
}

// One wait for up to kMaxBatch jobs.
class Follower {
 public:
  Follower(const Globals& globals, Client& client, const FollowOptions& options, Clock::time_point deadline)
      : globals_(globals), client_(client), options_(options), deadline_(deadline) {}

  Result<Exit> run(const std::vector<schema::JobId>& ids) {
    Exit exit = kOk;
    while (true) {
      Result<schema::WaitReply> reply = ask(ids);
      if (interrupted()) return stop(ids);
      if (!reply) return reply.error();
      const Status reported = report(*reply, exit);
      if (interrupted()) return stop(ids);
      if (!reported) return reported.error();
      if (reply->done) return exit;
      if (Clock::now() >= deadline_) return give_up(*reply);
      if (!options_.quiet) view_.update(reply->jobs);
    }
  }

 private:
  // Asks again where the answer was lost with a daemon that stopped.
  Result<schema::WaitReply> ask(const std::vector<schema::JobId>& ids) {
    const Clock::time_point last_try = std::min(deadline_, Clock::now()) + globals_.rpc_timeout();
    milliseconds resend = kResend;
    while (true) {
      const milliseconds slice = next_slice();
      const milliseconds patience = std::clamp(whole_ms(last_try - Clock::now()), milliseconds(1), resend);
      Result<schema::WaitReply> reply = client_.try_call<schema::WaitReply>(
          schema::Wait{ids, static_cast<std::uint32_t>(slice.count())}, slice + patience);
      const bool lost = !reply && reply.error().code == ErrorCode::kUnavailable;
      if (!lost || interrupted() || Clock::now() >= last_try) return reply;
      std::this_thread::sleep_for(kPause);
      resend *= 2;
    }
  }

  [[nodiscard]] milliseconds next_slice() const {
    const milliseconds left = whole_ms(deadline_ - Clock::now());
    return std::clamp(left, milliseconds(0), view_.live() ? kRedraw : kPlainSlice);
  }

  Status report(const schema::WaitReply& reply, Exit& exit) {
    for (const schema::JobInfo& job : reply.jobs) {
      if (!is_final(job.state) || !reported_.insert(job.id).second) continue;
      if (job.state != schema::JobState::kSucceeded) exit = kJobFailed;
      view_.clear();
      if (Status status = options_.ended(client_, job); !status) return status;
    }
    return ok_status();
  }

  Exit give_up(const schema::WaitReply& reply) {
    view_.clear();
    for (const schema::JobInfo& job : reply.jobs) {
      if (is_final(job.state)) continue;
      print_error(
          fmt::format("dslactl: job {} has not ended in time; it is {}\n", job.id, to_string(job.state)));
    }
    return kJobFailed;
  }

  Exit stop(const std::vector<schema::JobId>& ids) {
    view_.clear();
    std::vector<schema::JobId> left;
    std::copy_if(ids.begin(), ids.end(), std::back_inserter(left),
                 [this](schema::JobId id) { return !reported_.contains(id); });
    print_error(
        fmt::format("dslactl: stopped waiting; the jobs go on: dslactl wait {}\n", fmt::join(left, " ")));
    return kInterrupted;
  }

  const Globals& globals_;
  Client& client_;
  const FollowOptions& options_;
  Clock::time_point deadline_;
  ProgressView view_;
  std::set<schema::JobId> reported_;
};

}  // namespace

Result<Exit> follow(const Globals& globals, Client& client, std::vector<schema::JobId> ids,
                    const FollowOptions& options) {
  const InterruptGuard guard;
  const Clock::time_point never = Clock::now() + std::chrono::hours(24 * 365);
  const Clock::time_point deadline = options.timeout ? Clock::now() + *options.timeout : never;
  Follower follower(globals, client, options, deadline);
  Exit exit = kOk;
  for (std::size_t begin = 0; begin < ids.size(); begin += schema::kMaxBatch) {
    const auto first = ids.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last =
        ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), begin + schema::kMaxBatch));
    Result<Exit> part = follower.run({first, last});
    if (!part || *part == kInterrupted) return part;
    if (*part != kOk) exit = *part;
  }
  return exit;
}

}  // namespace dslad::ctl
