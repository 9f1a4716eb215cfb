#include "daemon/store/transitions.h"

#include <string>

namespace dslad::daemon {
namespace {

// An error as the two columns that keep it. Borrows the error.
struct ErrorColumns {
  explicit ErrorColumns(const std::optional<Error>& error) {
    if (!error) return;
    code = to_string(error->code);
    message = error->message;
  }
  std::optional<std::string_view> code, message;
};

}  // namespace

Status end_attempt(Database& db, const schema::Lease& lease, std::string_view outcome,
                   const std::optional<Error>& error, std::int64_t now_ms) {
  const ErrorColumns columns(error);
  return db.run(
      "UPDATE attempts SET outcome = ?, error_code = ?, error_message = ?, ended_ms = ? "
      "WHERE job_id = ? AND attempt = ?",
      outcome, columns.code, columns.message, now_ms, lease.job, lease.attempt);
}

Status move_job(Database& db, schema::JobId id, const Move& move, std::int64_t now_ms) {
  const ErrorColumns columns(move.error);
  std::optional<std::int64_t> ended_ms;
  if (schema::is_final(move.state)) ended_ms = now_ms;
  return db.run(
      "UPDATE jobs SET state = ?, failed_attempts = failed_attempts + ?, error_code = ?, error_message = ?, "
      "ended_ms = ?, not_before_ms = ?, suspect = max(suspect, ?) WHERE id = ?",
      schema::to_string(move.state), move.failed_attempt ? 1 : 0, columns.code, columns.message, ended_ms,
      move.not_before_ms, move.suspect ? 1 : 0, id);
}

}  // namespace dslad::daemon
