#include "ctl/result.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <memory>

#include "ctl/format.h"
#include "ctl/json.h"
#include "ctl/terminal.h"

namespace dslad::ctl {
namespace {

using schema::JobState;

// What wrote the answer, as far as it is known.
std::string origin(const schema::JobMetrics& metrics) {
  std::string text = fmt::format("plan {}", metrics.plan);
  if (!metrics.model.empty()) text += fmt::format(" of {}", one_line(metrics.model));
  if (metrics.plan > 0) {
    text += metrics.quality ? fmt::format(" ({:.1f}% of plan 0's quality)", 100 * *metrics.quality)
                            : " (quality not measured)";
    if (!metrics.why.empty()) text += ": " + one_line(metrics.why);
  }
  return text;
}

// The answers that people want: those of plan 0 where they asked for them and they are there.
bool is_upgraded(const schema::JobResult& result, const ResultOptions& options) {
  return result.job.upgrade && result.rerun && !options.first;
}

std::string other_answers(const schema::JobResult& result, bool upgraded) {
  if (!result.rerun)
    return result.job.upgrade && result.metrics.plan > 0 ? "to be run again on plan 0\n" : "";
  std::string text =
      upgraded ? fmt::format("first answered on {}", origin(result.metrics)) : "also run on plan 0";
  if (result.rerun->agreement)
    text += fmt::format(", the answers agree to {}", format_share(*result.rerun->agreement));
  if (upgraded) text += " (--first prints those)";
  return text + "\n";
}

// What became of a document beyond the context.
std::string handling(const schema::JobMetrics& metrics) {
  if (metrics.parts > 0) return fmt::format("read in {} parts, ", metrics.parts);
  if (metrics.cut_tokens > 0)
    return fmt::format("{} tokens of its middle left out, ", format_count(metrics.cut_tokens));
  return "";
}

std::string heading(const schema::JobResult& result, const schema::JobMetrics& metrics) {
  return fmt::format("job {}: {}, {}{} prompt and {} output tokens, queued {}, prefill {}, decode {}, {}\n",
                     result.job.id, to_string(result.job.task), handling(metrics),
                     format_count(metrics.prompt_tokens), format_count(metrics.output_tokens),
                     format_duration(metrics.queue_ms), format_duration(metrics.prefill_ms),
                     format_duration(metrics.decode_ms), origin(metrics));
}

// Beside a text that goes elsewhere: what it is less than the whole document's on plan 0, and why.
void note_what_is_less(const schema::JobInfo& job, const schema::JobMetrics& metrics) {
  if (metrics.plan == 0 && metrics.cut_tokens == 0) return;
  print_error(fmt::format("dslactl: job {}: {}{}\n", job.id, handling(metrics), origin(metrics)));
}

// People get a heading and no control characters; a file or pipe gets the text as it is.
void print_texts(const schema::JobResult& result, const ResultOptions& options) {
  const bool person = is_terminal(stdout);
  const bool upgraded = is_upgraded(result, options);
  const schema::JobMetrics& metrics = upgraded ? result.rerun->metrics : result.metrics;
  if (person) {
    print(heading(result, metrics));
    print(other_answers(result, upgraded));
  } else {
    note_what_is_less(result.job, metrics);
  }
  const auto shown = [person](const std::string& text) { return person ? printable(text) : text; };
  for (const schema::Output& output : upgraded ? result.rerun->outputs : result.outputs) {
    if (output.question) {
      const std::string part = person && output.part > 0 ? fmt::format(" (of part {})", output.part) : "";
      print(fmt::format("Q: {}\nA: {}{}\n\n", shown(*output.question), shown(output.text), part));
    } else {
      print(shown(output.text) + "\n");
    }
  }
}

void print_missing(const schema::JobInfo& job) {
  if (!is_final(job.state)) {
    print_error(fmt::format("dslactl: job {} has no result yet, it is {}; wait for it: dslactl wait {}\n",
                            job.id, to_string(job.state), job.id));
  } else if (job.error) {
    print_error(
        fmt::format("dslactl: job {} {}: {}\n", job.id, to_string(job.state), printable(job.error->message)));
  } else {
    print_error(fmt::format("dslactl: job {} has no result, it was {}\n", job.id, to_string(job.state)));
  }
}

void append(std::vector<schema::Output> more, std::vector<schema::Output>& outputs) {
  std::move(more.begin(), more.end(), std::back_inserter(outputs));
}

struct ShownResults {
  std::vector<schema::JobId> ids;
  ResultOptions options;
};

Result<Exit> show_results(const Globals& globals, const ShownResults& shown) {
  Result<Client> client = Client::open(globals);
  if (!client) return client.error();
  Exit exit = kOk;
  for (const schema::JobId id : shown.ids) {
    Result<Exit> one = print_result(*client, id, globals.json, shown.options);
    if (!one) return one;
    if (*one != kOk) exit = *one;
  }
  return exit;
}

}  // namespace

Result<schema::JobResult> fetch_result(const AskForPage& ask, schema::JobId id) {
  Result<schema::JobResult> result = ask({id});
  while (result && result->next != 0) {
    Result<schema::JobResult> page = ask({id, result->next});
    if (!page) return page;
    append(std::move(page->outputs), result->outputs);
    if (result->rerun && page->rerun) append(std::move(page->rerun->outputs), result->rerun->outputs);
    result->next = page->next;
  }
  return result;
}

Result<Exit> print_result(Client& client, schema::JobId id, bool json, const ResultOptions& options) {
  const Result<schema::JobResult> result = fetch_result(
      [&client](const schema::GetResult& page) { return client.call<schema::JobResult>(page); }, id);
  if (!result) return result.error();
  const bool succeeded = result->job.state == JobState::kSucceeded;
  if (json) {
    print(to_json(JobOutcome{*result}));
  } else if (succeeded) {
    print_texts(*result, options);
  } else {
    print_missing(result->job);
  }
  return succeeded ? kOk : kJobFailed;
}

void add_result(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("result", "Print what jobs yielded");
  auto shown = std::make_shared<ShownResults>();
  verb->add_option("ID", shown->ids, "Ids of jobs")->required();
  verb->add_flag("--first", shown->options.first,
                 "The first answers, also where the job was run again on plan 0 as it asked");
  verb->callback([shown, &action] {
    action = [shown](const Globals& globals) { return show_results(globals, *shown); };
  });
}

}  // namespace dslad::ctl
