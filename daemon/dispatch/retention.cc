#include "daemon/dispatch/retention.h"

#include "base/process/log.h"
#include "daemon/store/job_writes.h"

namespace dslad::daemon {
namespace {

constexpr std::int64_t kLookEveryMs = 30'000;
constexpr std::int64_t kPauseMs = 50;    // between two portions
constexpr std::uint32_t kPortion = 200;  // jobs; one transaction

Result<std::uint64_t> forget_portion(Database& db, const RetentionRules& rules, std::int64_t now_ms) {
  schema::Purge which;
  which.ended_before_ms = static_cast<std::uint64_t>(rules.max_age_ms);
  Result<std::uint64_t> forgotten = std::uint64_t{0};
  if (rules.max_age_ms > 0) forgotten = forget(db, which, kPortion, now_ms);
  if (!forgotten) return forgotten;
  if (*forgotten == 0 && rules.max_database_bytes > 0) {
    const Result<std::int64_t> used = bytes_used(db);
    if (!used) return used.error();
    if (*used > rules.max_database_bytes) forgotten = forget(db, {}, kPortion, now_ms);
    if (!forgotten) return forgotten;
  }
  if (*forgotten == 0) return forgotten;
  if (Status status = give_back_pages(db); !status) return status.error();
  return forgotten;
}

}  // namespace

Retention::Retention(const RetentionRules& rules, const Clock& clock, Executor& store)
    : rules_(rules), clock_(clock), store_(store) {}

void Retention::tick() {
  if (rules_.max_age_ms <= 0 && rules_.max_database_bytes <= 0) return;
  if (forgetting_ || clock_.steady_ms() < next_ms_) return;
  forget_some();
}

void Retention::forget_some() {
  forgetting_ = true;
  store_.post(Work(forget_portion, rules_, clock_.wall_ms()), [this](const Result<std::uint64_t>& forgotten) {
    forgetting_ = false;
    const std::uint64_t jobs = forgotten ? *forgotten : 0;  // an error: the next time
    if (jobs > 0) process::log_info("old jobs are forgotten", {{"JOBS", std::to_string(jobs)}});
    forgotten_ += jobs;
    next_ms_ = clock_.steady_ms() + (jobs > 0 ? kPauseMs : kLookEveryMs);
  });
}

}  // namespace dslad::daemon
