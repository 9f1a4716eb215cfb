// `batch status`, `batch results` and `batch cancel`: what can be asked of a batch by its id alone.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <memory>
#include <vector>

#include "ctl/batch_follow.h"
#include "ctl/batch_label.h"
#include "ctl/batch_line.h"
#include "ctl/batch_status.h"
#include "ctl/format.h"
#include "ctl/interrupt.h"
#include "ctl/json.h"
#include "ctl/result.h"
#include "ctl/terminal.h"
#include "schema/limits.h"

namespace dslad::ctl {
namespace {

using schema::JobId;

Result<BatchObject> ask_for_batch(PatientClient& client, const std::string& id) {
  const Result<schema::JobCounts> counts = client.call<schema::JobCounts>(schema::CountJobs{id, ""});
  if (!counts) return counts.error();
  if (Status status = check_known(id, *counts); !status) return status.error();
  return batch_object(id, *counts);
}

void print_batch(const Globals& globals, const BatchObject& batch) {
  print(globals.json ? to_json(batch) : batch_text(batch));
}

Result<Exit> show_batch(const Globals& globals, const std::string& id) {
  if (Status status = check_batch_id(id); !status) return status.error();
  Result<PatientClient> client = PatientClient::open(globals);
  if (!client) return client.error();
  const Result<BatchObject> batch = ask_for_batch(*client, id);
  if (!batch) return batch.error();
  print_batch(globals, *batch);
  return kOk;
}

// All pages of the batch's jobs, newest first; of those in `state` where one is named.
template <typename Take>
Status each_page(PatientClient& client, const std::string& id, std::optional<schema::JobState> state,
                 Take take) {
  schema::ListJobs request;
  request.label = id;
  request.state = state;
  request.limit = static_cast<std::uint32_t>(schema::kMaxBatch);
  bool more = true;
  while (more) {
    const Result<schema::JobList> page = client.call<schema::JobList>(request);
    if (!page) return page.error();
    more = page->more;
    if (page->jobs.empty()) break;
    request.before_id = page->jobs.back().id;
    if (Status status = take(page->jobs); !status) return status;
  }
  return ok_status();
}

// A job that waits may begin, and one that runs may wait again, between two pages: so once more until a round
// cancels nothing.
Result<std::uint64_t> cancel_open(PatientClient& client, const std::string& id) {
  std::uint64_t cancelled = 0;
  std::uint64_t before = 0;
  do {
    before = cancelled;
    for (const schema::JobState state : {schema::JobState::kQueued, schema::JobState::kRunning}) {
      Status status = each_page(client, id, state, [&](const std::vector<schema::JobInfo>& jobs) -> Status {
        schema::Cancel request;
        for (const schema::JobInfo& job : jobs) request.ids.push_back(job.id);
        const Result<schema::CancelReply> reply = client.call<schema::CancelReply>(request);
        if (!reply) return reply.error();
        cancelled += reply->cancelled.size();
        return ok_status();
      });
      if (!status) return status.error();
    }
  } while (cancelled > before);
  return cancelled;
}

Result<Exit> cancel_batch(const Globals& globals, const std::string& id) {
  if (Status status = check_batch_id(id); !status) return status.error();
  Result<PatientClient> client = PatientClient::open(globals);
  if (!client) return client.error();
  const Result<BatchObject> before = ask_for_batch(*client, id);
  if (!before) return before.error();
  const Result<std::uint64_t> cancelled = cancel_open(*client, id);
  if (!cancelled) return cancelled.error();
  const Result<BatchObject> batch = ask_for_batch(*client, id);
  if (!batch) return batch.error();
  if (!globals.json) print(fmt::format("{} jobs cancelled\n", format_count(*cancelled)));
  print_batch(globals, *batch);
  return kOk;
}

struct BatchResults {
  std::string id;
  std::string output;  // empty: standard output, of what has ended
  std::string errors;
  bool quiet = false;
};

// What has ended by now, oldest first.
Result<Exit> print_results(PatientClient& client, const BatchResults& options) {
  std::vector<JobId> ended;
  const Status listed =
      each_page(client, options.id, std::nullopt, [&ended](const std::vector<schema::JobInfo>& jobs) {
        for (const schema::JobInfo& job : jobs) {
          if (is_final(job.state)) ended.push_back(job.id);
        }
        return ok_status();
      });
  if (!listed) return listed.error();
  Exit exit = kOk;
  for (auto id = ended.rbegin(); id != ended.rend(); ++id) {
    const Result<schema::JobResult> result = fetch_result(
        [&client](const schema::GetResult& page) { return client.call<schema::JobResult>(page); }, *id);
    if (!result && result.error().code == ErrorCode::kNotFound) continue;  // it was forgotten meanwhile
    if (!result) return result.error();
    if (result->job.state != schema::JobState::kSucceeded) exit = kJobFailed;
    print(result_line(options.id, *result));
    if (output_error() != 0) break;
  }
  return exit;
}

Result<Exit> write_results(const Globals& globals, PatientClient& client, const BatchResults& options) {
  const InterruptGuard guard;
  Result<BatchSink> sink = BatchSink::open(options.id, options.output, options.errors);
  if (!sink) return sink.error();
  BatchFollower follower(client, options.id, *sink, options.quiet);
  const Result<schema::JobCounts> counts = follower.run();
  if (interrupted()) {
    print_error("dslactl: stopped; the jobs go on, and the same command goes on from here\n");
    return kInterrupted;
  }
  if (!counts) return counts.error();
  const BatchObject batch = batch_object(options.id, *counts);
  print_batch(globals, batch);
  return exit_of(batch);
}

Result<Exit> batch_results(const Globals& globals, const BatchResults& options) {
  if (Status status = check_batch_id(options.id); !status) return status.error();
  Result<PatientClient> client = PatientClient::open(globals);
  if (!client) return client.error();
  const Result<BatchObject> batch = ask_for_batch(*client, options.id);
  if (!batch) return batch.error();
  return options.output.empty() ? print_results(*client, options) : write_results(globals, *client, options);
}

template <typename Run>
void add_by_id(CLI::App& batch, Action& action, const char* name, const char* help, Run run) {
  CLI::App* verb = batch.add_subcommand(name, help)->fallthrough();
  auto id = std::make_shared<std::string>();
  verb->add_option("ID", *id, "As dslactl submit batch says it")->required();
  verb->callback(
      [id, run, &action] { action = [id, run](const Globals& globals) { return run(globals, *id); }; });
}

void add_results(CLI::App& batch, Action& action) {
  CLI::App* verb = batch.add_subcommand("results", "Lines of what has ended, or all to a file as they come");
  auto options = std::make_shared<BatchResults>();
  verb->fallthrough();
  verb->add_option("ID", options->id, "As dslactl submit batch says it")->required();
  CLI::Option* output = verb->add_option("--output", options->output,
                                         "Write results to this file as they come, until all are there")
                            ->type_name("FILE");
  verb->add_option("--errors", options->errors, "What failed goes to this file; default: to the output")
      ->type_name("FILE")
      ->needs(output);
  verb->add_flag("-q,--quiet", options->quiet, "No progress on standard error");
  verb->callback([options, &action] {
    action = [options](const Globals& globals) { return batch_results(globals, *options); };
  });
}

}  // namespace

void add_batch(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("batch", "Batches that were submitted: state, results, end");
  verb->require_subcommand(1);
  add_by_id(*verb, action, "status", "How far a batch is", show_batch);
  add_results(*verb, action);
  add_by_id(*verb, action, "cancel", "Cancel all jobs of a batch that have not ended", cancel_batch);
}

}  // namespace dslad::ctl
