#include "tests/daemon/fixture.h"

#include <cstdlib>

namespace dslad::daemon::test {

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "dslad-test-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Database open_database(const std::filesystem::path& file) {
  Database db = must(Database::open(file, 1000));
  must(migrate(db));
  return db;
}

std::string query_text(Database& db, const char* sql) {
  Query query(db, sql);
  std::string text = query.next() ? query.text(0) : "";
  must(query.status());
  return text;
}

void InlineExecutor::post(std::unique_ptr<Errand> errand) {
  ++posted_;
  posted_bytes_ += errand->bytes();
  waiting_.push_back(std::move(errand));
  work_off();
}

void InlineExecutor::let_go() {
  hold_ = Hold::kNothing;
  for (auto& [errand, committed] : std::exchange(finished_, {})) errand->finish(committed);
  work_off();
}

void InlineExecutor::work_off() {
  if (running_) return;
  running_ = true;
  while (!waiting_.empty() && hold_ != Hold::kAll) {
    std::unique_ptr<Errand> next = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    const Status committed = run(*next);
    if (hold_ == Hold::kFinish) {
      finished_.emplace_back(std::move(next), committed);
    } else {
      next->finish(committed);
    }
  }
  running_ = false;
}

Status InlineExecutor::run(Errand& errand) {
  must(db_.exec("BEGIN IMMEDIATE"));
  const bool commit = errand.run(db_).ok() && !failure_;
  must(db_.exec(commit ? "COMMIT" : "ROLLBACK"));
  return failure_ ? Status(*std::exchange(failure_, std::nullopt)) : ok_status();
}

Result<schema::Submitted> enqueue_jobs(Database& db, const std::vector<schema::JobRequest>& jobs,
                                       const QueueLimits& limits, std::int64_t now_ms,
                                       const std::string& client) {
  Result<Enqueued> enqueued = enqueue(db, schema::Submit{jobs, client}, limits, Intake{now_ms});
  if (!enqueued) return enqueued.error();
  return std::move(enqueued->reply);
}

schema::JobRequest summarize(const std::string& document) {
  schema::JobRequest job;
  job.spec.document = document;
  return job;
}

schema::JobRequest qa(const std::vector<std::string>& questions) {
  schema::JobRequest job = summarize();
  job.spec.task = schema::Task::kQa;
  job.spec.questions = questions;
  return job;
}

schema::WorkerResult success(const schema::Lease& lease, const std::string& text) {
  schema::WorkerResult result;
  result.lease = lease;
  result.outputs = {{std::nullopt, text, schema::FinishReason::kStop, 3}};
  result.metrics.prefill_ms = 10.5;
  result.metrics.decode_ms = 20.25;
  result.metrics.prompt_tokens = 100;
  result.metrics.output_tokens = 3;
  result.metrics.plan = 2;
  result.metrics.edition = "e1";
  result.metrics.quality = 0.98;
  return result;
}

schema::WorkerResult failure(const schema::Lease& lease, ErrorCode code) {
  schema::WorkerResult result;
  result.lease = lease;
  result.error = Error{code, "it went wrong"};
  return result;
}

}  // namespace dslad::daemon::test
