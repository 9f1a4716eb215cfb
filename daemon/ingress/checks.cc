#include "daemon/ingress/checks.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/process/log.h"
#include "daemon/dispatch/policy_settings.h"
#include "daemon/store/settings.h"

namespace dslad::daemon {
namespace {

void judge_settings(Integrity& integrity) {
  policy::Settings ignored;
  for (const std::string& wrong : apply_stored(integrity.settings, ignored))
    add_finding(integrity, fmt::format("a setting of the policy is wrong: {}", wrong));
  const auto mode = integrity.settings.find(std::string(kQueueModeSetting));
  schema::QueueMode word{};
  if (mode != integrity.settings.end() && !schema::parse_word(mode->second, word))
    add_finding(integrity, fmt::format("the queue's mode is '{}'", mode->second));
}

Status check(Database& db, const std::atomic<bool>& stop, bool quick, const Aside<Integrity>& found) {
  Result<Integrity> integrity = check_integrity(db, quick, stop);
  if (!integrity) return integrity.error();
  found.tell(std::move(integrity).value());
  return ok_status();
}

}  // namespace

Result<schema::IntegrityReply> Checks::begin(const std::string& peer, bool quick) {
  if (checking_.running()) {
    return Error{ErrorCode::kResourceExhausted, "a check is under way already: try again when it is done"};
  }
  // By the clock, so that a number from before a restart is not taken for a check of now.
  last_number_ = std::max(last_number_ + 1, static_cast<std::uint64_t>(clock_.wall_ms()));
  current_ = Current{peer, {last_number_, false, quick, {}, false}, std::nullopt};
  const Aside<Integrity> found;
  checking_.start(
      LongErrand::Work(check, quick, found), [this, number = last_number_, found](const Status& done) {
        if (!current_ || current_->reply.check != number) return;
        if (!done) current_->failed = done.error();
        schema::IntegrityReply& reply = current_->reply;
        reply.done = true;
        if (!found.told()) return;
        judge_settings(*found);
        reply.findings = std::move(found->findings);
        reply.more = found->more;
        for (const std::string& finding : reply.findings)
          process::log_error(process::kDatabaseDamaged, fmt::format("the database is damaged: {}", finding));
      });
  return current_->reply;
}

Result<schema::IntegrityReply> Checks::show(std::uint64_t check) {
  if (!current_ || current_->reply.check != check)
    return Error{ErrorCode::kNotFound, fmt::format("there is no check {} (any more): begin another", check)};
  if (current_->failed) return *current_->failed;
  return current_->reply;
}

void Checks::on_departed(const std::string& peer) {
  if (!current_ || current_->peer != peer) return;
  current_.reset();
  checking_.cancel();
}

}  // namespace dslad::daemon
