#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <memory>

#include "ctl/batch_submit.h"
#include "ctl/follow.h"
#include "ctl/format.h"
#include "ctl/input.h"
#include "ctl/job_options.h"
#include "ctl/json.h"
#include "ctl/result.h"
#include "ctl/terminal.h"
#include "schema/limits.h"

namespace dslad::ctl {
namespace {

using schema::JobRequest;
using schema::Task;

struct SubmitOptions : JobOptions {
  std::vector<std::string> files;  // documents, one job each; generate: none
  std::string prompt;              // "-": from standard input
  bool wait = false;
  bool quiet = false;
};

constexpr const char* kExamples = R"(
Examples:
  dslactl submit summarize *.txt --max-tokens 200 --idempotency-key nightly   run it twice: the jobs are the same
  dslactl submit qa --document log.txt --question "What failed?" --question "When?" --wait
  curl -s https://example.org/page.txt | dslactl submit summarize - --priority 5
  dslactl submit generate --prompt "Once upon a time" --temperature 0.8 --seed 7 --wait
  dslactl submit summarize *.txt --deadline 2h --min-quality 98%   as cheap as need be, but no worse than that
  dslactl submit summarize contract.txt --exact                    attention in every layer, whatever the load
  dslactl submit summarize novel.txt --overflow map-reduce         longer than the context: read part by part
)";

struct NamedJob {
  std::string name;  // for people: the file, or nothing
  JobRequest request;
};

// One key for several files would make them one job; how many there are must not matter, or a pattern that
// matches one file today and two tomorrow would submit the first one again.
std::string key_for(const SubmitOptions& options, const std::string& file) {
  const std::string& key = options.model.idempotency_key;
  return key.empty() || options.model.spec.task != Task::kSummarize ? key : key + ":" + file;
}

Result<JobRequest> checked(JobRequest request, const std::string& name) {
  for (const std::string& question : request.spec.questions) {
    if (Status status = check_utf8("a question", question); !status) return status.error();
  }
  if (Status status = check_utf8("--idempotency-key", request.idempotency_key); !status)
    return status.error();
  if (Status status = check_utf8("--custom-id", request.custom_id); !status) return status.error();
  Status status = request.validate();
  if (!status)
    return name.empty() ? status.error() : status.error().with_context(fmt::format("'{}'", one_line(name)));
  return request;
}

Result<std::vector<NamedJob>> read_documents(const SubmitOptions& options) {
  std::vector<NamedJob> jobs;
  for (const std::string& file : options.files) {
    Result<std::string> document = read_text(file);
    if (!document) return document.error();
    JobRequest request = options.model;
    request.spec.document = std::move(*document);
    request.idempotency_key = key_for(options, file);
    Result<JobRequest> job = checked(std::move(request), file);
    if (!job) return job.error();
    jobs.push_back({file, std::move(*job)});
  }
  return jobs;
}

Result<std::vector<NamedJob>> read_prompt(const SubmitOptions& options) {
  JobRequest request = options.model;
  if (options.prompt == "-") {
    Result<std::string> prompt = read_text(options.prompt);
    if (!prompt) return prompt.error();
    request.spec.prompt = std::move(*prompt);
  } else {
    if (Status status = check_utf8("--prompt", options.prompt); !status) return status.error();
    request.spec.prompt = options.prompt;
  }
  Result<JobRequest> job = checked(std::move(request), "");
  if (!job) return job.error();
  return std::vector<NamedJob>{{"", std::move(*job)}};
}

std::size_t approximate_bytes(const JobRequest& request) {
  std::size_t bytes = 1024 + request.spec.document.size() + request.spec.prompt.size() +
                      request.idempotency_key.size() + request.custom_id.size() + request.terms.model.size();
  for (const std::string& question : request.spec.questions) bytes += question.size() + 8;
  return bytes;
}

// Takes as many jobs from `next` on as one request holds, but at least one.
schema::Submit take_batch(std::vector<NamedJob>& jobs, std::size_t next, const schema::Submit& model) {
  schema::Submit batch = model;
  std::size_t bytes = 1024 + model.client.size();
  for (std::size_t i = next; i < jobs.size() && batch.jobs.size() < schema::kMaxBatch; ++i) {
    bytes += approximate_bytes(jobs[i].request);
    if (bytes > schema::kMaxFrameBytes && !batch.jobs.empty()) break;
    batch.jobs.push_back(std::move(jobs[i].request));
  }
  return batch;
}

struct Acknowledged {
  schema::JobId id = 0;
  bool duplicate = false;
  std::int64_t finish_ms = 0;  // 0: nothing is known
};

// What became of a job that is known by its key; it is not run again by itself.
std::string known(Client& client, schema::JobId id) {
  const auto job = client.call<schema::JobInfo>(schema::GetJob{id});
  if (!job) return "  (known by its idempotency key)";
  const bool again = is_final(job->state) && job->state != schema::JobState::kSucceeded;
  return fmt::format("  (known by its idempotency key: {}{})", to_string(job->state),
                     again ? "; --retry-failed runs it again" : "");
}

void print_id(Client& client, const Acknowledged& job, const std::string& name, bool json) {
  if (json) {
    print(to_json(SubmittedJob{job.id, job.duplicate ? std::optional(true) : std::nullopt,
                               job.finish_ms == 0 ? std::nullopt : std::optional(job.finish_ms)}));
    return;
  }
  std::string line = fmt::format("job {}", job.id);
  if (!name.empty()) line += "  " + one_line(name);
  if (job.finish_ms != 0) line += "  done about " + format_moment(job.finish_ms, wall_ms());
  if (job.duplicate) line += known(client, job.id);
  print(line + "\n");
}

// Each batch is acknowledged, and printed, once it is on disk.
Result<std::vector<schema::JobId>> send(const Globals& globals, Client& client, std::vector<NamedJob> jobs,
                                        const schema::Submit& model) {
  std::vector<schema::JobId> ids;
  while (ids.size() < jobs.size()) {
    const std::size_t first = ids.size();
    const schema::Submit batch = take_batch(jobs, first, model);
    const auto reply = client.call<schema::Submitted>(batch);
    if (!reply) return reply.error();
    if (reply->ids.size() != batch.jobs.size()) {
      return Error{ErrorCode::kInternal, fmt::format("the daemon acknowledged {} jobs of {}",
                                                     reply->ids.size(), batch.jobs.size())};
    }
    for (std::size_t i = 0; i < reply->ids.size(); ++i) {
      const bool duplicate = i < reply->duplicates.size() && reply->duplicates[i];
      const std::int64_t finish_ms = i < reply->finish_ms.size() ? reply->finish_ms[i] : 0;
      print_id(client, {reply->ids[i], duplicate, finish_ms}, jobs[first + i].name, globals.json);
      ids.push_back(reply->ids[i]);
    }
  }
  return ids;
}

Result<Exit> submit(const Globals& globals, SubmitOptions options) {
  Result<JobRequest> model = read_job_options(options);
  if (!model) return model.error();
  options.model = std::move(*model);
  const Result<std::string> for_whom = read_client(options.terms);
  if (!for_whom) return for_whom.error();
  Result<std::vector<NamedJob>> jobs =
      options.model.spec.task == Task::kGenerate ? read_prompt(options) : read_documents(options);
  if (!jobs) return jobs.error();
  Result<Client> client = Client::open(globals);
  if (!client) return client.error();
  Result<std::vector<schema::JobId>> ids =
      send(globals, *client, std::move(*jobs), {{}, *for_whom, options.retry_failed});
  if (!ids) return ids.error();
  if (!options.wait) return kOk;
  FollowOptions follow_options;
  follow_options.quiet = options.quiet;
  follow_options.ended = [&globals](Client& connected, const schema::JobInfo& job) -> Status {
    const Result<Exit> printed = print_result(connected, job.id, globals.json);
    return printed ? ok_status() : Status(printed.error());
  };
  return follow(globals, *client, *ids, follow_options);
}

void add_common(CLI::App& verb, SubmitOptions& options) {
  add_job_options(verb, options);
  verb.add_option("--idempotency-key", options.model.idempotency_key,
                  "A repeated key returns the first job, and is refused where that was another; documents to "
                  "summarize get KEY:FILE each");
  verb.add_option("--custom-id", options.model.custom_id, "Your own name for the job");
  verb.add_flag("--wait", options.wait, "Wait for the results and print them");
  verb.add_flag("-q,--quiet", options.quiet, "No progress while waiting");
}

// `add_texts` declares what the task works on.
template <typename AddTexts>
void add_task(CLI::App& submit_verb, Action& action, Task task, const char* help, AddTexts add_texts) {
  auto options = std::make_shared<SubmitOptions>();
  options->model.spec.task = task;
  CLI::App* verb = submit_verb.add_subcommand(std::string(to_string(task)), help)->fallthrough();
  add_texts(*verb, *options);
  add_common(*verb, *options);
  verb->callback([options, &action] {
    action = [options](const Globals& globals) { return submit(globals, *options); };
  });
}

void add_overflow(CLI::App& verb, SubmitOptions& options) {
  verb.add_option_function<std::string>(
          "--overflow",
          [&](const std::string& word) { parse_word(word, options.model.spec.overflow.emplace()); },
          "What becomes of a document that is longer than the model's context: the job fails, the middle is "
          "left out, or it is read in parts; default: as dslad is configured")
      ->check(CLI::IsMember({"error", "truncate", "map-reduce"}))
      ->type_name("WHAT");
}

void add_documents(CLI::App& verb, SubmitOptions& options) {
  verb.add_option("FILE", options.files, "Documents in UTF-8; - is standard input")->required();
  add_overflow(verb, options);
}

void add_document_and_questions(CLI::App& verb, SubmitOptions& options) {
  options.files.resize(1);
  verb.add_option("--document", options.files.front(), "The document in UTF-8; - is standard input")
      ->required()
      ->type_name("FILE");
  verb.add_option("--question", options.model.spec.questions, "A question; may be given several times")
      ->required()
      ->type_name("Q");
  add_overflow(verb, options);
}

void add_prompt(CLI::App& verb, SubmitOptions& options) {
  verb.add_option("--prompt", options.prompt, "The text to continue; - is standard input")->required();
}

}  // namespace

void add_submit(CLI::App& app, Action& action) {
  CLI::App* verb =
      app.add_subcommand("submit", "Hand jobs to the queue; prints their ids once they are on disk");
  verb->require_subcommand(1);
  add_task(*verb, action, Task::kSummarize, "Summarize documents, one job each", add_documents);
  add_task(*verb, action, Task::kQa, "Answer questions on a document, all in one job",
           add_document_and_questions);
  add_task(*verb, action, Task::kGenerate, "Continue a text", add_prompt);
  add_submit_batch(*verb, action);
  verb->footer(kExamples);
}

}  // namespace dslad::ctl
