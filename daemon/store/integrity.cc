#include "daemon/store/integrity.h"

#include <array>
#include <fmt/format.h>
#include <utility>

#include "base/utf8.h"
#include "daemon/store/settings.h"
#include "schema/limits.h"

namespace dslad::daemon {
namespace {

// Each yields a row of one text for each thing that is wrong, the first two another one where nothing is.
constexpr const char* kFull = "PRAGMA integrity_check(101)";
constexpr const char* kQuick = "PRAGMA quick_check(101)";
constexpr std::string_view kNothingWrong = "ok";

constexpr std::array kRules = {
    "SELECT printf('row %s of %s refers to one of %s that is not there', coalesce(rowid, '?'), \"table\", "
    "parent) "
    "FROM pragma_foreign_key_check LIMIT 101",

    "SELECT printf('%d jobs of %d bytes are counted as %s, and there are %d of %d bytes', coalesce(c.jobs, "
    "0), "
    "coalesce(c.bytes, 0), coalesce(c.state, n.state), coalesce(n.jobs, 0), coalesce(n.bytes, 0)) "
    "FROM job_counts c FULL JOIN (SELECT state, count(*) AS jobs, sum(bytes) AS bytes FROM jobs "
    "WHERE rerun_of IS NULL GROUP BY state) n ON n.state = c.state "
    "WHERE c.jobs IS NOT coalesce(n.jobs, 0) OR c.bytes IS NOT coalesce(n.bytes, 0)",

    "SELECT printf('job %d is %s and its texts are not there', j.id, j.state) FROM jobs j "
    "WHERE j.state IN ('queued', 'running') "
    "AND NOT EXISTS (SELECT 1 FROM job_inputs i WHERE i.job_id = coalesce(j.rerun_of, j.id)) LIMIT 101",

    "SELECT printf('job %d is %s and has %d questions, of which %d are there', j.id, j.state, j.questions, "
    "(SELECT count(*) FROM job_questions q WHERE q.job_id = coalesce(j.rerun_of, j.id))) FROM jobs j "
    "WHERE j.state IN ('queued', 'running') AND j.questions <> "
    "(SELECT count(*) FROM job_questions q WHERE q.job_id = coalesce(j.rerun_of, j.id)) LIMIT 101",

    "SELECT printf('job %d is %s and has %s end', id, state, iif(ended_ms IS NULL, 'no', 'an')) FROM jobs "
    "WHERE (state IN ('queued', 'running')) = (ended_ms IS NOT NULL) LIMIT 101",

    "SELECT printf('job %d has succeeded and has no answer', id) FROM jobs j WHERE state = 'succeeded' "
    "AND NOT EXISTS (SELECT 1 FROM job_outputs o WHERE o.job_id = j.id) LIMIT 101",

    "SELECT printf('job %d is at attempt %d, and %d are recorded', j.id, j.attempt, "
    "(SELECT count(*) FROM attempts a WHERE a.job_id = j.id)) FROM jobs j "
    "WHERE j.attempt <> (SELECT count(*) FROM attempts a WHERE a.job_id = j.id) LIMIT 101",

    "SELECT printf('job %d is running, and its attempt %d has %s', j.id, j.attempt, "
    "iif(a.job_id IS NULL, 'no record', 'ended')) FROM jobs j "
    "LEFT JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt "
    "WHERE j.state = 'running' AND (a.job_id IS NULL OR a.outcome IS NOT NULL) LIMIT 101",

    "SELECT printf('attempt %d of job %d has not ended, and the job is %s at attempt %d', a.attempt, j.id, "
    "j.state, "
    "j.attempt) FROM attempts a JOIN jobs j ON j.id = a.job_id "
    "WHERE a.outcome IS NULL AND NOT (j.state IN ('queued', 'running') AND j.attempt = a.attempt) LIMIT 101",

    "SELECT printf('job %d repeats job %d, and nothing says why', id, rerun_of) FROM jobs "
    "WHERE rerun_of IS NOT NULL AND id NOT IN (SELECT rerun_id FROM reruns) LIMIT 101",
};

constexpr std::array kTexts = {
    "SELECT printf('the document of job %d', job_id), document FROM job_inputs",
    "SELECT printf('the prompt of job %d', job_id), prompt FROM job_inputs",
    "SELECT printf('question %d of job %d', number, job_id), question FROM job_questions",
    "SELECT printf('answer %d of job %d', number, job_id), text FROM job_outputs",
};

Error check_was_stopped() {
  return {ErrorCode::kUnavailable, "it was ended before it was done"};
}

// Texts that come from a damaged file may be anything.
std::string readable(std::string text) {
  for (char& byte : text) {
    if (static_cast<unsigned char>(byte) < 0x20 || static_cast<unsigned char>(byte) >= 0x7F) byte = '?';
  }
  if (text.size() > schema::kMaxNameBytes) text.resize(schema::kMaxNameBytes);
  return text;
}

// An error only where the disk fails, which says nothing of the database.
Status ask(Database& db, const char* sql, Integrity& integrity) {
  Query query(db, sql);
  while (query.next()) {
    if (query.text(0) != kNothingWrong) add_finding(integrity, query.text(0));
  }
  if (query.status()) return ok_status();
  if (query.status().error().code == ErrorCode::kUnavailable) return query.status();
  add_finding(integrity, query.status().error().message);
  return ok_status();
}

// SQLite has no checksums: a page that was overwritten may look like one of a long text.
Status check_texts(Database& db, const char* sql, const std::atomic<bool>& stop, Integrity& integrity) {
  Query query(db, sql);
  while (!stop && query.next()) {
    if (!valid_utf8(query.text(1)))
      add_finding(integrity, fmt::format("{} is damaged: it is not UTF-8", query.text(0)));
  }
  if (query.status() || query.status().error().code == ErrorCode::kUnavailable) return query.status();
  add_finding(integrity, query.status().error().message);
  return ok_status();
}

}  // namespace

void add_finding(Integrity& integrity, std::string finding) {
  if (integrity.findings.size() < kMostFindings) {
    integrity.findings.push_back(readable(std::move(finding)));
  } else {
    integrity.more = true;
  }
}

Result<Integrity> check_integrity(Database& db, bool quick, const std::atomic<bool>& stop) {
  Integrity integrity;
  Status status = ask(db, quick ? kQuick : kFull, integrity);
  for (const char* rule : kRules) {
    if (status && stop) status = check_was_stopped();
    if (status) status = ask(db, rule, integrity);
  }
  for (const char* texts : kTexts) {
    if (status && !quick) status = check_texts(db, texts, stop, integrity);
  }
  if (status && stop) status = check_was_stopped();
  if (!status) return status.error();
  Result<std::map<std::string, std::string>> settings = read_settings(db);
  if (settings) {
    integrity.settings = std::move(settings).value();
  } else {
    add_finding(integrity, fmt::format("the settings cannot be read: {}", settings.error().message));
  }
  return integrity;
}

}  // namespace dslad::daemon
