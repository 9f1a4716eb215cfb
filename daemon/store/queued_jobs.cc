#include "daemon/store/queued_jobs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <limits>

namespace dslad::daemon {
namespace {

// The columns of read_queued, in its order.
#define DSLAD_QUEUED_ROW                                                                          \
  "id, " DSLAD_TURN_KEY                                                                           \
  ", model, priority, created_ms, due_ms, deadline_ms, min_quality, max_plan, best_effort, "      \
  "bytes, questions, max_tokens, needs_context, needs_cache_bytes, suspect, overflow, document, " \
  "not_before_ms, needs_tokens"

QueuedJob read_queued(const Query& row) {
  QueuedJob job;
  job.id = row.integer(0);
  job.client = row.text(1);
  job.model = row.text(2);
  job.priority = static_cast<std::int32_t>(row.integer(3));
  job.created_ms = row.integer(4);
  job.due_ms = row.integer(5);
  if (!row.is_null(6)) job.deadline_ms = row.integer(6);
  if (!row.is_null(7)) job.min_quality = row.real(7);
  if (!row.is_null(8)) job.max_plan = static_cast<std::uint32_t>(row.integer(8));
  job.best_effort = row.integer(9) != 0;
  job.bytes = static_cast<std::uint64_t>(row.integer(10));
  job.questions = static_cast<std::uint32_t>(row.integer(11));
  job.max_tokens = static_cast<std::uint32_t>(row.integer(12));
  job.needs_context = static_cast<std::uint32_t>(row.integer(13));
  job.needs_cache_bytes = static_cast<std::uint64_t>(row.integer(14));
  job.suspect = row.integer(15) != 0;
  parse_word(row.text(16), job.overflow);
  job.document = row.integer(17);
  if (!row.is_null(18)) job.not_before_ms = row.integer(18);
  job.needs_tokens = static_cast<std::uint64_t>(row.integer(19));
  return job;
}

#define DSLAD_ROOM_HERE DSLAD_HAS_ROOM("?7", "?5")

// The head of one model's queue; the index jobs_queue has it in this order.
#define DSLAD_QUEUE_OF(model)                                                                           \
  "SELECT * FROM (SELECT " DSLAD_QUEUED_ROW                                                             \
  " FROM jobs WHERE state = 'queued' AND rerun_of IS NULL AND not_before_ms IS NULL AND model = " model \
  " AND (expires_ms IS NULL OR expires_ms > ?3) AND needs_context <= ?4 AND needs_cache_bytes <= ?5 "   \
  "AND " DSLAD_ROOM_HERE " AND (attempt = 0 OR NOT " DSLAD_LEASED                                       \
  ") "                                                                                                  \
  "ORDER BY priority DESC, due_ms, id LIMIT ?6) "

// What a worker has, or more than any job needs where it does not say.
template <typename Number>
std::int64_t or_plenty(Number value) {
  return value == 0 ? std::numeric_limits<std::int64_t>::max() : static_cast<std::int64_t>(value);
}

}  // namespace

std::string turn_key(const std::string& owner, const std::string& client) {
  return owner.empty() ? client : owner + "\n" + client;
}

std::string text_of(const std::vector<PlanRoom>& plans) {
  if (plans.empty()) return {};
  std::vector<std::string> texts;
  for (const PlanRoom& one : plans)
    texts.push_back(
        fmt::format("[{},{},{},{}]", one.plan, one.quality, one.kv_bytes_per_token, one.state_bytes));
  return fmt::format("[{}]", fmt::join(texts, ","));
}

Result<std::vector<QueuedJob>> next_jobs(Database& db, const ServedBy& by, std::uint32_t limit,
                                         std::int64_t now_ms) {
  const std::string plans = text_of(by.plans);
  Query query(db,
              DSLAD_QUEUE_OF("''") "UNION " DSLAD_QUEUE_OF("?1") "UNION " DSLAD_QUEUE_OF(
                  "?2") "ORDER BY priority DESC, due_ms, id LIMIT ?6",
              by.model, by.model_digest, now_ms, or_plenty(by.context), or_plenty(by.cache_bytes), limit,
              plans);
  std::vector<QueuedJob> jobs;
  while (query.next()) jobs.push_back(read_queued(query));
  if (!query.status()) return query.status().error();
  return jobs;
}

Result<std::vector<QueuedJob>> delayed_promises(Database& db, std::uint32_t limit) {
  Query query(
      db,
      "SELECT " DSLAD_QUEUED_ROW
      " FROM (SELECT * FROM jobs INDEXED BY jobs_not_before WHERE state = 'queued' AND not_before_ms IS "
      "NOT NULL ORDER BY not_before_ms LIMIT ?) WHERE rerun_of IS NULL AND deadline_ms IS NOT NULL AND "
      "best_effort = 0",
      limit);
  std::vector<QueuedJob> jobs;
  while (query.next()) jobs.push_back(read_queued(query));
  if (!query.status()) return query.status().error();
  return jobs;
}

#undef DSLAD_QUEUE_OF
#undef DSLAD_ROOM_HERE
#undef DSLAD_QUEUED_ROW

}  // namespace dslad::daemon
