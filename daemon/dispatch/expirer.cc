#include "daemon/dispatch/expirer.h"

#include <cstdlib>
#include <fmt/format.h>
#include <utility>
#include <vector>

#include "base/process/log.h"
#include "daemon/store/job_writes.h"

namespace dslad::daemon {
namespace {

// When the daemon itself stood still for longer than this, workers' heartbeats may lie unread: their leases
// are extended by the time it stood.
constexpr std::int64_t kStoodStillMs = 1'000;

// What a clock that is merely kept in step may be off before deadlines follow it.
constexpr std::int64_t kClockJumpMs = 1'000;

struct Due {
  std::vector<Ended> expired;
  bool woken = false;
  Expirer::NextDue next;
};

Result<Due> take_due(Database& db, std::int64_t now_ms) {
  Result<std::vector<Ended>> expired = expire(db, now_ms);
  if (!expired) return expired.error();
  const Result<bool> woken = wake(db, now_ms);
  if (!woken) return woken.error();
  const Result<std::optional<std::int64_t>> next_ms = next_due(db);
  if (!next_ms) return next_ms.error();
  return Due{std::move(expired).value(), *woken, {*next_ms, db.rows_changed()}};
}

}  // namespace

void Expirer::tick() {
  const std::int64_t now_ms = around_.clock.steady_ms();
  if (last_tick_ms_ != 0 && now_ms - last_tick_ms_ > kStoodStillMs)
    around_.table.extend_all(now_ms - last_tick_ms_);
  last_tick_ms_ = now_ms;
  follow_wall_clock();
  registry_.drop_silent();  // before the leases, or an ended one would go to a silent worker again
  leases_.end_overdue();
}

// Deadlines are stored by the wall clock and promised by the steady one.
void Expirer::follow_wall_clock() {
  const std::int64_t offset_ms = around_.clock.wall_ms() - around_.clock.steady_ms();
  const std::int64_t jump_ms = offset_ms - wall_offset_ms_.value_or(offset_ms);
  if (wall_offset_ms_ && std::abs(jump_ms) < kClockJumpMs) return;
  wall_offset_ms_ = offset_ms;
  if (jump_ms == 0) return;
  process::log_warning(fmt::format(
      "the system's clock jumped by {} ms; the times of jobs that have not ended move with it", jump_ms));
  assigner_.shift_turns(jump_ms);
  around_.durable.post(Work(shift_open_jobs, jump_ms), [](const Status&) {});
}

// Every look costs a transaction and two threads' waking, so there is none while nothing can be due.
void Expirer::look_at_jobs() {
  const std::int64_t now_ms = around_.clock.wall_ms();
  const bool none_due = !next_.at_ms || now_ms < *next_.at_ms;
  if (next_.rows_changed == around_.store.rows_changed() && none_due) return;
  around_.store.post(Work(take_due, now_ms),
                     [this](const Result<Due>& due) {  // an error: the next second tries again
                       if (!due) return;
                       next_ = due->next;
                       leases_.jobs_ended(due->expired, schema::JobState::kExpired);
                       if (due->woken) assigner_.jobs_queued();
                     });
}

}  // namespace dslad::daemon
