// `submit batch`: a file's rows become jobs, in two readings of the file. The first finds what is wrong with
// which rows and what the batch's id is, before anything is submitted; the second submits.
#include "ctl/batch_submit.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <fmt/format.h>
#include <memory>
#include <thread>

#include "ctl/batch_file.h"
#include "ctl/batch_follow.h"
#include "ctl/batch_status.h"
#include "ctl/format.h"
#include "ctl/interrupt.h"
#include "ctl/job_options.h"
#include "ctl/json.h"
#include "ctl/terminal.h"
#include "schema/limits.h"

namespace dslad::ctl {
namespace {

constexpr std::size_t kMostNamed = 10;  // bad rows that are told one by one
constexpr std::size_t kRequestBytes = std::size_t{4}
                                      << 20;  // of one request's texts, unless one job has more

struct BatchOptions : JobOptions {
  std::string file;
  std::string output;  // empty: results are not waited for
  std::string errors;
  bool strict = false;
  bool check = false;
  bool use_model = false;
  bool quiet = false;
};

constexpr const char* kBatchExamples = R"(
Examples:
  dslactl submit batch rows.jsonl --check                        what is wrong with which line; submits nothing
  dslactl submit batch rows.jsonl --output out.jsonl             the same again after any interruption goes on
  dslactl submit batch rows.jsonl --priority -5 --deadline 12h   then: dslactl batch status batch_...
)";

// What is wrong with rows, as it comes to light.
void note_bad(SubmittedBatch& report, std::uint64_t line, const std::string& custom_id, const Error& error) {
  ++report.bad;
  if (report.errors.size() < kMostNamed) report.errors.push_back({line, custom_id, error});
}

void tell_bad(const std::string& name, const SubmittedBatch& report) {
  for (const BadRow& row : report.errors)
    print_error(fmt::format("dslactl: {}, line {}: {}\n", name, row.line, one_line(row.error.message)));
  if (report.bad > report.errors.size())
    print_error(
        fmt::format("dslactl: {} more rows are bad\n", format_count(report.bad - report.errors.size())));
}

// The first reading.
Result<SubmittedBatch> scan(BatchFile& file, const BatchOptions& options, const RowDefaults& defaults) {
  SubmittedBatch report;
  BatchRows rows(file, defaults);
  NumberedRow row;
  while (true) {
    const Result<bool> some = rows.next(row);
    if (!some) return some.error();
    if (!*some) break;
    ++report.rows;
    if (!row.sound) note_bad(report, row.line, row.row.custom_id, row.sound.error());
    if (interrupted()) return Error{ErrorCode::kUnavailable, "interrupted"};
  }
  if (report.rows == 0) return invalid_argument(fmt::format("{} has no rows", file.name()));
  report.id =
      batch_id(rows.hash(), options.model.spec.options, defaults.request.terms.model, options.use_model);
  return report;
}

// The second reading.
class BatchSubmitter {
 public:
  BatchSubmitter(PatientClient& client, BatchSink& sink, SubmittedBatch& report, schema::Submit model,
                 BatchFollower* follower)
      : client_(client), sink_(sink), report_(report), model_(std::move(model)), follower_(follower) {}

  // Errors: of the daemon, or of the file: it has changed.
  Status run(BatchFile& file, const RowDefaults& defaults, bool quiet) {
    BatchRows rows(file, defaults);
    NumberedRow row;
    while (!interrupted()) {
      const Result<bool> some = rows.next(row);
      if (!some) return some.error();
      if (!*some) break;
      if (Status status = take(row); !status) return status;
      if (waiting_.size() < schema::kMaxBatch && bytes_ < kRequestBytes) continue;
      if (Status status = flush(file); !status) return status;
      if (!quiet) show(file, row);
    }
    Status status = interrupted() ? ok_status() : flush(file);
    block_.erase();
    if (Status synced = sink_.sync(); !synced) return synced;
    return status;
  }

 private:
  struct Waiting {
    std::uint64_t line = 0;
    schema::JobRequest request;
  };

  Status take(NumberedRow& row) {
    if (!row.sound) return sink_.add_bad_row(row.line, row.row.custom_id, row.sound.error());
    const schema::JobSpec& spec = row.row.request.spec;
    bytes_ += spec.document.size() + spec.prompt.size();
    for (const std::string& question : spec.questions) bytes_ += question.size();
    waiting_.push_back({row.line, std::move(row.row.request)});
    return ok_status();
  }

  Status flush(const BatchFile& file) {
    if (file.changed()) {
      return invalid_argument(
          fmt::format("{} has changed while it was submitted; {} jobs of {} are in the queue: dslactl batch "
                      "cancel {} ends them, then submit the file anew",
                      file.name(), format_count(report_.submitted), report_.id, report_.id));
    }
    if (Status status = send(0, waiting_.size()); !status) return status;
    waiting_.clear();
    bytes_ = 0;
    return follower_ != nullptr && report_.submitted > 0 && !interrupted() ? follower_->catch_up()
                                                                           : ok_status();
  }

  // Where the daemon refuses a request for one of its jobs, the halves are tried, so that one bad row is one
  // bad row. A queue that is full is waited for.
  Status send(std::size_t begin, std::size_t end) {
    if (begin == end) return ok_status();
    while (!interrupted()) {
      Result<schema::Submitted> reply = ask(begin, end);
      if (reply) return acknowledged(*reply, end - begin);
      if (reply.error().code == ErrorCode::kUnavailable || reply.error().code == ErrorCode::kInternal)
        return interrupted() ? ok_status() : Status(reply.error());
      if (end - begin > 1) {
        const std::size_t middle = begin + (end - begin) / 2;
        if (Status status = send(begin, middle); !status) return status;
        return send(middle, end);
      }
      if (reply.error().code != ErrorCode::kResourceExhausted) return refused(waiting_[begin], reply.error());
      if (Status status = wait_for_room(reply.error()); !status) return status;
    }
    return ok_status();
  }

  Result<schema::Submitted> ask(std::size_t begin, std::size_t end) {
    schema::Submit request = model_;
    for (std::size_t i = begin; i < end; ++i) request.jobs.push_back(std::move(waiting_[i].request));
    Result<schema::Submitted> reply = client_.call<schema::Submitted>(request);
    for (std::size_t i = begin; i < end; ++i) waiting_[i].request = std::move(request.jobs[i - begin]);
    return reply;
  }

  Status acknowledged(const schema::Submitted& reply, std::size_t jobs) {
    if (reply.ids.size() != jobs || reply.duplicates.size() != jobs) {
      return Error{ErrorCode::kInternal,
                   fmt::format("the daemon acknowledged {} jobs of {}", reply.ids.size(), jobs)};
    }
    report_.submitted += jobs;
    for (const bool duplicate : reply.duplicates) report_.duplicates += duplicate ? 1 : 0;
    return ok_status();
  }

  Status refused(const Waiting& row, const Error& error) {
    note_bad(report_, row.line, row.request.custom_id, error);
    return sink_.add_bad_row(row.line, row.request.custom_id, error);
  }

  // Results go on coming meanwhile.
  Status wait_for_room(const Error& error) {
    if (!told_full_) print_error(fmt::format("dslactl: waiting for room: {}\n", printable(error.message)));
    told_full_ = true;
    if (follower_ != nullptr && report_.submitted > 0) {
      Status status = follower_->catch_up();
      if (!status && !interrupted()) return status;
    }
    for (int i = 0; i < 20 && !interrupted(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return ok_status();
  }

  void show(const BatchFile& file, const NumberedRow& row) {
    if (!is_terminal(stderr)) return;
    block_.show({fmt::format("{} submitting, {} rows so far", progress_bar(row.end, file.bytes()),
                             format_count(row.line))});
  }

  PatientClient& client_;
  BatchSink& sink_;
  SubmittedBatch& report_;
  const schema::Submit model_;
  BatchFollower* follower_;
  std::vector<Waiting> waiting_;
  std::size_t bytes_ = 0;  // of their texts
  bool told_full_ = false;
  LiveBlock block_;
};

std::string summary(const std::string& name, const SubmittedBatch& report) {
  std::string text = fmt::format("{}: {} rows of {}, ", report.id, format_count(report.rows), name);
  text += fmt::format("{} jobs", format_count(report.submitted));
  if (report.duplicates > 0) text += fmt::format(" ({} known before)", format_count(report.duplicates));
  if (report.bad > 0) text += fmt::format(", {} bad rows", format_count(report.bad));
  return text + "\n";
}

Exit checked(const Globals& globals, const std::string& name, const SubmittedBatch& report) {
  print(globals.json
            ? to_json(report)
            : fmt::format("{}: {} of {} rows are good; nothing was submitted, the batch would be {}\n", name,
                          format_count(report.rows - report.bad), format_count(report.rows), report.id));
  return report.bad == 0 ? kOk : kUsage;
}

Exit stopped(const BatchOptions& options) {
  print_error(fmt::format(
      "dslactl: stopped; what was submitted goes on, and the same command goes on from here: "
      "dslactl submit batch {}{}\n",
      one_line(options.file), options.output.empty() ? "" : " --output " + one_line(options.output)));
  return kInterrupted;
}

// Results as they come, and what became of the batch.
Result<Exit> follow_batch(const Globals& globals, const BatchOptions& options, BatchFollower& follower,
                          const SubmittedBatch& report) {
  const Result<schema::JobCounts> counts = follower.run();
  if (interrupted()) return stopped(options);
  if (!counts) return counts.error();
  const BatchObject batch = batch_object(report.id, *counts);
  print(globals.json ? to_json(batch) : batch_text(batch));
  return report.bad > 0 ? kJobFailed : exit_of(batch);
}

Result<Exit> submit_all(const Globals& globals, const BatchOptions& options, BatchFile& file,
                        const RowDefaults& defaults, SubmittedBatch& report) {
  const Result<std::string> for_whom = read_client(options.terms);
  if (!for_whom) return for_whom.error();
  Result<BatchSink> sink = BatchSink::open(report.id, options.output, options.errors);
  if (!sink) return sink.error();
  if (options.retry_failed) {
    if (Status status = sink->forget_failures(); !status) return status.error();
  }
  Result<PatientClient> client = PatientClient::open(globals);
  if (!client) return client.error();
  BatchFollower follower(*client, report.id, *sink, options.quiet);
  BatchFollower* following = options.output.empty() ? nullptr : &follower;
  const std::uint64_t bad_before = report.bad;
  BatchSubmitter submitter(*client, *sink, report, {{}, *for_whom, options.retry_failed}, following);
  const Status submitted = submitter.run(file, defaults, options.quiet);
  if (report.bad > bad_before) tell_bad(file.name(), report);
  if (interrupted()) return stopped(options);
  if (!submitted) return submitted.error();
  print(globals.json ? to_json(report) : summary(file.name(), report));
  if (report.submitted == 0) return kUsage;
  if (following != nullptr) return follow_batch(globals, options, follower, report);
  return report.bad == 0 ? kOk : kJobFailed;
}

Result<Exit> submit_batch(const Globals& globals, const BatchOptions& options) {
  Result<schema::JobRequest> model = read_job_options(options);
  if (!model) return model.error();
  Result<BatchFile> file = BatchFile::open(options.file);
  if (!file) return file.error();
  const InterruptGuard guard;
  RowDefaults defaults{std::move(*model), std::string(kNoBatch), options.use_model};
  Result<SubmittedBatch> report = scan(*file, options, defaults);
  if (!report) return interrupted() ? Result<Exit>(kInterrupted) : report.error();
  tell_bad(file->name(), *report);
  if (options.check) return checked(globals, file->name(), *report);
  if (options.strict && report->bad > 0)
    return invalid_argument(
        fmt::format("{} of {} rows of {} are bad and --strict was given; nothing was submitted",
                    format_count(report->bad), format_count(report->rows), file->name()));
  defaults.batch = report->id;
  return submit_all(globals, options, *file, defaults, *report);
}

}  // namespace

void add_submit_batch(CLI::App& submit, Action& action) {
  CLI::App* verb = submit.add_subcommand("batch", "Hand in a file of many jobs, one JSON object a line");
  auto options = std::make_shared<BatchOptions>();
  verb->fallthrough();
  verb->add_option("FILE", options->file, "JSON lines: rows of dslad's own, or of OpenAI's batch interface")
      ->required();
  add_job_options(*verb, *options);
  verb->add_flag("--use-model", options->use_model, "The model of an OpenAI row must answer; else any does");
  verb->add_flag("--strict", options->strict, "Submit nothing if any row is bad");
  verb->add_flag("--check", options->check, "Only say what is wrong with which line");
  verb->add_option("--output", options->output,
                   "Write results to this file as they come, until all are there")
      ->type_name("FILE");
  verb->add_option("--errors", options->errors,
                   "What failed goes to this file, bad rows too; default: to the output")
      ->type_name("FILE");
  verb->add_flag("-q,--quiet", options->quiet, "No progress on standard error");
  verb->footer(kBatchExamples);
  verb->callback([options, &action] {
    action = [options](const Globals& globals) { return submit_batch(globals, *options); };
  });
}

}  // namespace dslad::ctl
