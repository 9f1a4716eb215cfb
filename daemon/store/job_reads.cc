#include "daemon/store/job_reads.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <string_view>

#include "base/utf8.h"
#include "daemon/store/job_writes.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobInfo;

// The columns of read_row, in its order.
#define DSLAD_JOB_ROW                                                                                       \
  "SELECT j.id, j.custom_id, j.task, j.state, j.priority, j.attempt, j.max_attempts, j.created_ms, "        \
  "iif(j.state = 'queued' AND a.outcome IS NULL, NULL, a.started_ms), j.ended_ms, a.worker, j.error_code, " \
  "j.error_message, j.client, j.model, "                                                                    \
  "j.deadline_ms, j.min_quality, j.max_plan, j.upgrade, j.not_before_ms, j.suspect, "                       \
  "(SELECT group_concat(label, char(10)) FROM job_labels WHERE job_id = j.id), j.owner, "                   \
  "j.state = 'queued' AND a.job_id IS NOT NULL AND a.outcome IS NULL "                                      \
  "FROM jobs j LEFT JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt "

ErrorCode code_from(const std::string& word) {
  for (int code = 1; code <= static_cast<int>(ErrorCode::kInternal); ++code) {
    if (to_string(static_cast<ErrorCode>(code)) == word) return static_cast<ErrorCode>(code);
  }
  return ErrorCode::kInternal;
}

template <typename Enum>
Enum word(const Query& row, int column) {
  Enum value{};
  schema::parse_word(row.text(column), value);  // the table's CHECK lets no other words in
  return value;
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  for (std::size_t end = 0; end != std::string_view::npos;
       text.remove_prefix(std::min(text.size(), end + 1))) {
    end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
  }
  return lines;
}

JobInfo read_row(const Query& row) {
  JobInfo info;
  info.id = row.integer(0);
  info.custom_id = row.text(1);
  info.task = word<schema::Task>(row, 2);
  info.state = word<schema::JobState>(row, 3);
  info.priority = static_cast<std::int32_t>(row.integer(4));
  info.attempt = static_cast<std::uint32_t>(row.integer(5));
  info.max_attempts = static_cast<std::uint32_t>(row.integer(6));
  info.created_ms = row.integer(7);
  info.started_ms = row.integer(8);
  info.ended_ms = row.integer(9);
  info.worker = row.text(10);
  if (!row.is_null(11)) info.error = Error{code_from(row.text(11)), row.text(12)};
  info.client = row.text(13);
  info.model = row.text(14);
  info.deadline_ms = row.integer(15);
  if (!row.is_null(16)) info.min_quality = row.real(16);
  if (!row.is_null(17)) info.max_plan = static_cast<std::uint32_t>(row.integer(17));
  info.upgrade = row.integer(18) != 0;
  info.starts_ms = row.integer(19);
  info.alone = row.integer(20) != 0 && !schema::is_final(info.state);
  if (!row.is_null(21)) info.labels = split_lines(row.text(21));
  info.owner = row.text(22);
  info.at_worker = row.integer(23) != 0;
  return info;
}

Status not_found(JobId id) {
  return Error{ErrorCode::kNotFound, fmt::format("there is no job {}", id)};
}

Status read_questions(Database& db, JobId id, std::vector<std::string>& questions) {
  Query query(db,
              "SELECT question FROM job_questions "
              "WHERE job_id = (SELECT coalesce(rerun_of, id) FROM jobs WHERE id = ?) ORDER BY number",
              id);
  while (query.next()) questions.push_back(query.text(0));
  return query.status();
}

// A page of a result's texts: what is left of it, and where the next one begins.
struct Page {
  std::uint32_t from = 0;  // outputs to skip
  std::size_t bytes = 0;   // that are left
  std::uint32_t read = 0;  // outputs, skipped or not, until the page was full
  bool full = false;
};

Status read_outputs(Database& db, JobId id, Page& page, std::vector<schema::Output>& outputs) {
  Query query(db,
              "SELECT q.question, o.text, o.finish_reason, o.output_tokens, o.part FROM job_outputs o "
              "JOIN jobs j ON j.id = o.job_id "
              "LEFT JOIN job_questions q ON q.job_id = coalesce(j.rerun_of, j.id) AND q.number = o.number "
              "WHERE o.job_id = ? ORDER BY o.number",
              id);
  while (!page.full && query.next()) {
    if (page.read < page.from) {
      ++page.read;
      continue;
    }
    schema::Output output;
    if (!query.is_null(0)) output.question = query.text(0);
    output.text = query.text(1);
    output.finish_reason = word<schema::FinishReason>(query, 2);
    output.output_tokens = static_cast<std::uint32_t>(query.integer(3));
    output.part = static_cast<std::uint32_t>(query.integer(4));
    const std::size_t bytes = output.text.size() + output.question.value_or("").size();
    page.full = bytes > page.bytes && page.read > page.from;  // one is read however long it is
    if (page.full) break;
    page.bytes -= std::min(page.bytes, bytes);
    ++page.read;
    outputs.push_back(std::move(output));
  }
  return query.status();
}

Status read_metrics(Database& db, JobId id, schema::JobMetrics& metrics) {
  Query query(db,
              "SELECT max(a.started_ms - j.created_ms, 0), a.prefill_ms, a.decode_ms, a.prompt_tokens, "
              "a.output_tokens, a.plan, a.worker, a.attempt, a.edition, a.quality, a.model, a.model_digest, "
              "a.why, a.prefill_work_ms, a.decode_work_ms, a.batch, a.parts, a.cut_tokens, "
              "a.reused_tokens FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt "
              "WHERE j.id = ?",
              id);
  while (query.next()) {
    metrics.queue_ms = query.real(0);
    metrics.prefill_ms = query.real(1);
    metrics.decode_ms = query.real(2);
    metrics.prompt_tokens = static_cast<std::uint64_t>(query.integer(3));
    metrics.output_tokens = static_cast<std::uint64_t>(query.integer(4));
    metrics.plan = static_cast<std::uint32_t>(query.integer(5));
    metrics.worker = query.text(6);
    metrics.attempt = static_cast<std::uint32_t>(query.integer(7));
    metrics.edition = query.text(8);
    if (!query.is_null(9)) metrics.quality = query.real(9);
    metrics.model = query.text(10);
    metrics.model_digest = query.text(11);
    metrics.why = query.text(12);
    metrics.prefill_work_ms = query.real(13);
    metrics.decode_work_ms = query.real(14);
    metrics.batch = query.real(15);
    metrics.parts = static_cast<std::uint32_t>(query.integer(16));
    metrics.cut_tokens = static_cast<std::uint64_t>(query.integer(17));
    metrics.reused_tokens = static_cast<std::uint64_t>(query.integer(18));
  }
  return query.status();
}

// The latest that has succeeded.
Status read_rerun(Database& db, JobId id, Page& page, std::optional<schema::Rerun>& rerun) {
  std::optional<JobId> rerun_id;
  std::optional<double> agreement;
  Query query(db,
              "SELECT j.id, r.agreement FROM jobs j JOIN reruns r ON r.rerun_id = j.id "
              "WHERE j.rerun_of = ? AND j.state = 'succeeded' ORDER BY j.id DESC LIMIT 1",
              id);
  while (query.next()) {
    rerun_id = query.integer(0);
    if (!query.is_null(1)) agreement = query.real(1);
  }
  if (!query.status() || !rerun_id) return query.status();
  rerun.emplace().agreement = agreement;
  if (Status status = read_outputs(db, *rerun_id, page, rerun->outputs); !status) return status;
  return read_metrics(db, *rerun_id, rerun->metrics);
}

// Fills at most `limit` rows and says in `more` whether others follow.
Status read_page(Query& query, std::uint32_t limit, schema::JobList& list) {
  while (query.next()) {
    if (list.jobs.size() == limit) {
      list.more = true;
      break;
    }
    list.jobs.push_back(read_row(query));
  }
  return query.status();
}

// In the order of their ends. The index of ends is read from there on, whatever label or client is asked for:
// who follows jobs as they end asks for few of many.
Result<schema::JobList> list_ended(Database& db, const schema::ListJobs& request,
                                   const std::optional<std::string_view>& owner) {
  const std::int64_t rows = std::int64_t{request.limit} + 1;
  std::optional<std::string_view> state, client, label;
  if (request.state) state = schema::to_string(*request.state);
  if (!request.client.empty()) client = request.client;
  if (!request.label.empty()) label = request.label;
  schema::JobList list;
  Query query(db,
              DSLAD_JOB_ROW
              "WHERE j.ended_ms IS NOT NULL AND j.ended_ms >= ?1 AND (j.ended_ms > ?1 OR j.id > ?2) AND "
              "j.rerun_of IS NULL AND (?3 IS NULL OR j.state = ?3) AND (?4 IS NULL OR j.client = ?4) AND "
              "(?5 IS NULL OR EXISTS (SELECT 1 FROM job_labels WHERE label = ?5 AND job_id = j.id)) AND "
              "(?7 IS NULL OR j.owner = ?7) ORDER BY j.ended_ms, j.id LIMIT ?6",
              request.ended_after->time_ms, request.ended_after->id, state, client, label, rows, owner);
  if (Status status = read_page(query, request.limit, list); !status) return status.error();
  return list;
}

// A damaged page may look like one of the file's; what was submitted was UTF-8.
bool is_text(const schema::JobSpec& spec) {
  return valid_utf8(spec.document) && valid_utf8(spec.prompt) &&
         std::all_of(spec.questions.begin(), spec.questions.end(), valid_utf8);
}

}  // namespace

Result<JobInfo> read_info(Database& db, JobId id, const Scope& scope) {
  Query query(db, DSLAD_JOB_ROW "WHERE j.id = ?1 AND j.rerun_of IS NULL AND (?2 IS NULL OR j.owner = ?2)", id,
              scope.bound());
  if (query.next()) return read_row(query);
  if (!query.status()) return query.status().error();
  return not_found(id).error();
}

Result<std::vector<JobInfo>> read_infos(Database& db, const std::vector<JobId>& ids, const Scope& scope) {
  std::vector<JobInfo> infos;
  for (const JobId id : ids) {
    Result<JobInfo> info = read_info(db, id, scope);
    if (!info) return info.error();
    infos.push_back(std::move(info).value());
  }
  return infos;
}

Result<schema::JobSpec> read_spec(Database& db, JobId id) {
  schema::JobSpec spec;
  Query query(db,
              "SELECT j.task, i.document, i.prompt, i.max_tokens, i.temperature, i.top_p, i.seed, j.overflow "
              "FROM jobs j JOIN job_inputs i ON i.job_id = coalesce(j.rerun_of, j.id) WHERE j.id = ?",
              id);
  if (!query.next() && query.status())
    return Error{ErrorCode::kNotFound, fmt::format("no texts of job {} are stored", id)};
  if (!query.status()) return query.status().error();
  spec.task = word<schema::Task>(query, 0);
  spec.document = query.text(1);
  spec.prompt = query.text(2);
  spec.options.max_tokens = static_cast<std::uint32_t>(query.integer(3));
  spec.options.temperature = query.real(4);
  spec.options.top_p = query.real(5);
  spec.options.seed = static_cast<std::uint64_t>(query.integer(6));
  spec.overflow = word<schema::Overflow>(query, 7);
  if (Status status = read_questions(db, id, spec.questions); !status) return status.error();
  if (!is_text(spec)) return Error{ErrorCode::kCorrupt, "they are damaged: they are not UTF-8"};
  return spec;
}

Result<schema::JobResult> read_result(Database& db, JobId id, std::uint32_t from, std::size_t page_bytes,
                                      const Scope& scope) {
  Result<JobInfo> info = read_info(db, id, scope);
  if (!info) return info.error();
  schema::JobResult result;
  result.job = std::move(info).value();
  Page page{from, page_bytes};
  if (Status status = read_outputs(db, id, page, result.outputs); !status) return status.error();
  if (Status status = read_metrics(db, id, result.metrics); !status) return status.error();
  if (Status status = read_rerun(db, id, page, result.rerun); !status) return status.error();
  if (page.full) result.next = page.read;
  return result;
}

Result<schema::JobVerdict> read_verdict(Database& db, JobId id, const Scope& scope) {
  Query query(
      db,
      "SELECT j.state, j.deadline_ms, coalesce(a.plan, a.assigned_plan), a.quality, a.why, a.started_ms, "
      "a.ended_ms, a.job_id IS NOT NULL AND a.outcome IS NULL FROM jobs j "
      "LEFT JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt "
      "WHERE j.id = ?1 AND j.rerun_of IS NULL AND (?2 IS NULL OR j.owner = ?2)",
      id, scope.bound());
  if (!query.next()) return query.status() ? not_found(id).error() : query.status().error();
  schema::JobVerdict verdict;
  verdict.id = id;
  verdict.state = word<schema::JobState>(query, 0);
  verdict.deadline_ms = query.integer(1);
  const bool waits = verdict.state == schema::JobState::kQueued;
  verdict.at_worker = waits && query.integer(7) != 0;
  if (waits && !verdict.at_worker) return verdict;
  if (!query.is_null(2)) verdict.plan = static_cast<std::uint32_t>(query.integer(2));
  if (!query.is_null(3)) verdict.quality = query.real(3);
  verdict.why = query.text(4);
  if (!waits) verdict.start_ms = query.integer(5);
  verdict.finish_ms = query.integer(6);
  return verdict;
}

Result<std::vector<WorkDone>> latest_work(Database& db, const std::string& model_digest,
                                          const std::string& edition, std::uint32_t limit) {
  std::vector<WorkDone> done;
  // Looks no further back than so many jobs: others may have had them all.
  Query query(
      db,
      "SELECT a.worker, j.bytes, j.questions, j.max_tokens, a.plan, a.prompt_tokens, a.output_tokens, "
      "a.prefill_work_ms, a.decode_work_ms, a.batch, a.parts, a.cut_tokens, a.reused_tokens FROM attempts a "
      "JOIN jobs j ON "
      "j.id = a.job_id "
      "WHERE a.job_id > (SELECT coalesce(max(id), 0) - 5000 FROM jobs) AND a.outcome = 'succeeded' "
      "AND a.model_digest = ? AND coalesce(a.edition, '') = ? AND a.prefill_work_ms > 0 "
      "ORDER BY a.job_id DESC LIMIT ?",
      model_digest, edition, limit);
  while (query.next()) {
    WorkDone& one = done.emplace_back();
    one.worker = query.text(0);
    one.job.bytes = static_cast<std::uint64_t>(query.integer(1));
    one.job.questions = static_cast<std::uint32_t>(query.integer(2));
    one.job.max_tokens = static_cast<std::uint32_t>(query.integer(3));
    one.metrics.plan = static_cast<std::uint32_t>(query.integer(4));
    one.metrics.prompt_tokens = static_cast<std::uint64_t>(query.integer(5));
    one.metrics.output_tokens = static_cast<std::uint64_t>(query.integer(6));
    one.metrics.prefill_work_ms = query.real(7);
    one.metrics.decode_work_ms = query.real(8);
    one.metrics.batch = query.real(9);
    one.metrics.parts = static_cast<std::uint32_t>(query.integer(10));
    one.metrics.cut_tokens = static_cast<std::uint64_t>(query.integer(11));
    one.metrics.reused_tokens = static_cast<std::uint64_t>(query.integer(12));
  }
  if (!query.status()) return query.status().error();
  return done;
}

// One statement for each index that a page can be read from: by end, by label, by owner, by client, by state,
// by id.
Result<schema::JobList> list_jobs(Database& db, const schema::ListJobs& request, const Scope& scope) {
  std::optional<std::string_view> owner = scope.bound();
  if (owner && !request.owner.empty() && request.owner != *owner) return schema::JobList{};
  if (!request.owner.empty()) owner = request.owner;
  if (request.ended_after) return list_ended(db, request, owner);
  const std::int64_t before =
      request.before_id > 0 ? request.before_id : std::numeric_limits<std::int64_t>::max();
  const std::int64_t rows = std::int64_t{request.limit} + 1;
  std::optional<std::string_view> state, client;
  if (request.state) state = schema::to_string(*request.state);
  if (!request.client.empty()) client = request.client;
  schema::JobList list;
  Status status = ok_status();
  if (!request.label.empty()) {
    Query query(db,
                DSLAD_JOB_ROW
                "JOIN job_labels l ON l.job_id = j.id WHERE l.label = ?1 AND l.job_id < ?2 AND "
                "j.rerun_of IS NULL AND (?3 IS NULL OR j.state = ?3) AND (?4 IS NULL OR j.client = ?4) AND "
                "(?6 IS NULL OR j.owner = ?6) ORDER BY l.job_id DESC LIMIT ?5",
                request.label, before, state, client, rows, owner);
    status = read_page(query, request.limit, list);
  } else if (owner) {
    Query query(
        db,
        DSLAD_JOB_ROW
        "WHERE j.owner = ?1 AND j.id < ?2 AND j.rerun_of IS NULL AND (?3 IS NULL OR j.state = ?3) AND "
        "(?4 IS NULL OR j.client = ?4) ORDER BY j.id DESC LIMIT ?5",
        owner, before, state, client, rows);
    status = read_page(query, request.limit, list);
  } else if (client) {
    Query query(db,
                DSLAD_JOB_ROW
                "WHERE j.client = ?1 AND j.id < ?2 AND j.rerun_of IS NULL AND (?3 IS NULL OR j.state = ?3) "
                "ORDER BY j.id DESC LIMIT ?4",
                client, before, state, rows);
    status = read_page(query, request.limit, list);
  } else if (state) {
    Query query(
        db, DSLAD_JOB_ROW "WHERE j.rerun_of IS NULL AND j.state = ? AND j.id < ? ORDER BY j.id DESC LIMIT ?",
        state, before, rows);
    status = read_page(query, request.limit, list);
  } else {
    Query query(db, DSLAD_JOB_ROW "WHERE j.rerun_of IS NULL AND j.id < ? ORDER BY j.id DESC LIMIT ?", before,
                rows);
    status = read_page(query, request.limit, list);
  }
  if (!status) return status.error();
  return list;
}

Result<std::uint64_t> count_delayed(Database& db) {
  Query query(db,
              "SELECT count(*) FROM jobs INDEXED BY jobs_not_before WHERE state = 'queued' AND not_before_ms "
              "IS NOT NULL AND rerun_of IS NULL");
  const std::int64_t jobs = query.next() ? query.integer(0) : 0;
  if (!query.status()) return query.status().error();
  return static_cast<std::uint64_t>(jobs);
}

Result<std::map<std::string, std::uint64_t>> count_jobs(Database& db) {
  std::map<std::string, std::uint64_t> counts;
  Query query(db, "SELECT state, jobs FROM job_counts");
  while (query.next()) counts[query.text(0)] = static_cast<std::uint64_t>(query.integer(1));
  if (!query.status()) return query.status().error();
  return counts;
}

Result<schema::JobCounts> count_jobs(Database& db, const schema::CountJobs& request, const Scope& scope) {
  schema::JobCounts counts;
  for (int state = 0; state <= static_cast<int>(schema::JobState::kExpired); ++state)
    counts.jobs[std::string(to_string(static_cast<schema::JobState>(state)))] = 0;
  std::optional<std::string_view> client;
  if (!request.client.empty()) client = request.client;
  const auto read = [&counts](Query& query) {
    while (query.next()) {
      counts.jobs[query.text(0)] = static_cast<std::uint64_t>(query.integer(1));
      const std::int64_t created_ms = query.integer(2);
      counts.created_ms = counts.created_ms == 0 ? created_ms : std::min(counts.created_ms, created_ms);
      counts.ended_ms = std::max(counts.ended_ms, query.integer(3));
    }
    return query.status();
  };
  Status status = ok_status();
  if (!request.label.empty()) {
    Query query(db,
                "SELECT j.state, count(*), min(j.created_ms), max(j.ended_ms) FROM job_labels l "
                "JOIN jobs j ON j.id = l.job_id WHERE l.label = ?1 AND j.rerun_of IS NULL AND "
                "(?2 IS NULL OR j.client = ?2) AND (?3 IS NULL OR j.owner = ?3) GROUP BY j.state",
                request.label, client, scope.bound());
    status = read(query);
  } else {
    Query query(db,
                "SELECT state, count(*), min(created_ms), max(ended_ms) FROM jobs "
                "WHERE client = ?1 AND rerun_of IS NULL AND (?2 IS NULL OR owner = ?2) GROUP BY state",
                client, scope.bound());
    status = read(query);
  }
  if (!status) return status.error();
  return counts;
}

Result<std::vector<StoredLease>> stored_leases(Database& db) {
  std::vector<StoredLease> held;
  Query query(db,
              "SELECT j.id, j.attempt, a.worker, a.instance, j.rerun_of IS NOT NULL, j.suspect, "
              "j.state = 'running', a.assigned_plan, coalesce(j.min_quality, 0) FROM jobs j "
              "JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt WHERE j.state = 'running' OR "
              "(j.state = 'queued' AND j.attempt > 0 AND a.outcome IS NULL)");
  while (query.next()) {
    StoredLease& lease =
        held.emplace_back(StoredLease{{query.integer(0), static_cast<std::uint32_t>(query.integer(1))},
                                      {query.text(2), query.text(3)},
                                      query.integer(4) != 0,
                                      query.integer(5) != 0,
                                      query.integer(6) != 0});
    if (!query.is_null(7)) lease.plan = static_cast<std::uint32_t>(query.integer(7));
    lease.min_quality = query.real(8);
  }
  if (!query.status()) return query.status().error();
  return held;
}

Result<std::map<std::string, std::int64_t>> latest_turns(Database& db) {
  std::map<std::string, std::int64_t> turns;
  Query query(db, "SELECT " DSLAD_TURN_KEY
                  ", max(due_ms) FROM jobs WHERE state = 'queued' AND rerun_of IS NULL AND "
                  "deadline_ms IS NULL GROUP BY 1");
  while (query.next()) turns[query.text(0)] = query.integer(1) - due_ms(0, 0);
  if (!query.status()) return query.status().error();
  return turns;
}

#undef DSLAD_JOB_ROW

}  // namespace dslad::daemon
