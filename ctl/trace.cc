#include "ctl/trace.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
#include <iostream>
#include <system_error>

#include "base/nearest.h"
#include "base/utf8.h"
#include "ctl/amount.h"
#include "ctl/csv.h"
#include "schema/duration.h"
#include "schema/limits.h"

namespace dslad::ctl {
namespace {

constexpr double kMostSeconds = 1e10;                 // more than any clock's; keeps milliseconds exact
constexpr std::uint64_t kMostPromptTokens = 1 << 24;  // more than any job's text has

template <typename Number>
bool parse_within(std::string_view text, Number least, Number most, Number& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size() && value >= least && value <= most;
}

bool parse_seconds(std::string_view text, TraceJob& job) {
  return parse_within(text, -kMostSeconds, kMostSeconds, job.arrived_s);  // false for what is no number
}

// "2023-11-16 18:17:03.9799600", whatever zone may follow: only differences count.
bool parse_moment(std::string_view text, TraceJob& job) {
  int year = 0;
  unsigned month = 0;
  unsigned day = 0;
  unsigned hour = 0;
  unsigned minute = 0;
  double second = 0;
  const std::string ended(text);
  if (std::sscanf(ended.c_str(), "%4d-%2u-%2u%*1[ T]%2u:%2u:%lf", &year, &month, &day, &hour, &minute,
                  &second) != 6)
    return false;
  const std::chrono::year_month_day date{std::chrono::year{year}, std::chrono::month{month},
                                         std::chrono::day{day}};
  if (!date.ok() || hour > 23 || minute > 59 || !(second >= 0 && second < 61)) return false;
  const auto days = std::chrono::sys_days{date}.time_since_epoch();
  job.arrived_s = std::chrono::duration<double>(days).count() + 3600.0 * hour + 60.0 * minute + second;
  return true;
}

bool parse_bytes(std::string_view text, TraceJob& job) {
  return parse_within(text, std::uint64_t{1}, std::uint64_t{schema::kMaxJobBytes}, job.bytes);
}

bool parse_prompt(std::string_view text, TraceJob& job) {
  return parse_within(text, std::uint64_t{1}, kMostPromptTokens, job.prompt_tokens);
}

bool parse_most(std::string_view text, TraceJob& job) {
  return parse_within(text, 1U, schema::kMaxTokens, job.max_tokens);
}

bool parse_output(std::string_view text, TraceJob& job) {
  return parse_within(text, std::uint64_t{1}, std::uint64_t{schema::kMaxTokens}, job.output_tokens);
}

bool parse_questions(std::string_view text, TraceJob& job) {
  return parse_within(text, 0U, static_cast<std::uint32_t>(schema::kMaxQuestions), job.questions);
}

bool parse_client(std::string_view text, TraceJob& job) {
  job.client = text;
  return text.size() <= schema::kMaxNameBytes;
}

bool parse_model(std::string_view text, TraceJob& job) {
  job.model = text;
  return text.size() <= schema::kMaxNameBytes;
}

bool parse_deadline(std::string_view text, TraceJob& job) {
  const Result<std::uint64_t> parsed = schema::parse_duration(text);
  if (!parsed || *parsed == 0) return false;
  job.deadline_ms = *parsed;
  return true;
}

bool parse_quality(std::string_view text, TraceJob& job) {
  const Result<double> parsed = parse_share(text);
  if (!parsed) return false;
  job.min_quality = *parsed;
  return true;
}

bool parse_plan(std::string_view text, TraceJob& job) {
  std::uint32_t plan = 0;
  const bool parsed = parse_within(text, 0U, static_cast<std::uint32_t>(schema::kMaxLayers), plan);
  job.max_plan = plan;
  return parsed;
}

bool parse_priority(std::string_view text, TraceJob& job) {
  return parse_within(text, -schema::kMaxPriority, schema::kMaxPriority, job.priority);
}

// What of a job a column tells. Those of the first three are needed, each from one column.
enum class Part { kArrival, kSize, kAnswer, kTerms };

struct Column {
  std::string_view name;
  Part part;
  bool (*parse)(std::string_view text, TraceJob& job);
  std::string wanted;
};

const std::vector<Column>& known_columns() {
  static const std::string seconds = fmt::format("a number of seconds, at most {:g}", kMostSeconds);
  static const std::string prompt = fmt::format("a whole number from 1 to {}", kMostPromptTokens);
  static const std::string answer = fmt::format("a whole number from 1 to {}", schema::kMaxTokens);
  static const std::vector<Column> columns = {
      {"arrived_s", Part::kArrival, parse_seconds, seconds},
      {"arrived_at", Part::kArrival, parse_seconds, seconds},
      {"TIMESTAMP", Part::kArrival, parse_moment, "a moment such as 2023-11-16 18:17:03.979"},
      {"bytes", Part::kSize, parse_bytes, fmt::format("a whole number from 1 to {}", schema::kMaxJobBytes)},
      {"prompt_tokens", Part::kSize, parse_prompt, prompt},
      {"ContextTokens", Part::kSize, parse_prompt, prompt},
      {"num_prefill_tokens", Part::kSize, parse_prompt, prompt},
      {"max_tokens", Part::kAnswer, parse_most, answer},
      {"output_tokens", Part::kAnswer, parse_output, answer},
      {"GeneratedTokens", Part::kAnswer, parse_output, answer},
      {"num_decode_tokens", Part::kAnswer, parse_output, answer},
      {"questions", Part::kTerms, parse_questions,
       fmt::format("a whole number from 0 to {}, or nothing", schema::kMaxQuestions)},
      {"client", Part::kTerms, parse_client, fmt::format("at most {} bytes", schema::kMaxNameBytes)},
      {"model", Part::kTerms, parse_model, fmt::format("at most {} bytes", schema::kMaxNameBytes)},
      {"deadline_s", Part::kTerms, parse_deadline, "seconds above 0, a duration such as 10m, or nothing"},
      {"min_quality", Part::kTerms, parse_quality, "a share such as 0.98 or 98%, or nothing"},
      {"max_plan", Part::kTerms, parse_plan,
       fmt::format("a whole number from 0 to {}, or nothing", schema::kMaxLayers)},
      {"priority", Part::kTerms, parse_priority,
       fmt::format("a whole number from -{0} to {0}, or nothing", schema::kMaxPriority)},
  };
  return columns;
}

std::vector<std::string_view> names_of(std::optional<Part> part) {
  std::vector<std::string_view> names;
  for (const Column& column : known_columns()) {
    if (!part || column.part == *part) names.push_back(column.name);
  }
  return names;
}

Status check_needed(const CsvReader& reader, const std::vector<std::string>& header) {
  constexpr std::array<std::pair<Part, const char*>, 3> kNeeded = {
      {{Part::kArrival, "when a job arrives"},
       {Part::kSize, "how large it is"},
       {Part::kAnswer, "how long its answer is"}}};
  for (const auto& [part, what] : kNeeded) {
    const std::vector<std::string_view> names = names_of(part);
    const auto found = std::count_if(header.begin(), header.end(), [&names](const std::string& name) {
      return std::find(names.begin(), names.end(), name) != names.end();
    });
    if (found == 1) continue;
    return reader.error(fmt::format("{} says {}; the header must have one of {}",
                                    found == 0 ? "no column" : "more than one column", what,
                                    fmt::join(names, ", ")));
  }
  return ok_status();
}

Result<std::vector<const Column*>> columns_of(const CsvReader& reader) {
  const std::vector<std::string>& header = reader.columns();
  if (header.front().starts_with('{'))
    return reader.error(
        "this is JSON and must be CSV: write arrived_s,prompt_tokens,output_tokens and below it what e.g. jq "
        "-r '[.timestamp / 1000, .input_length, .output_length] | @csv' makes of it");
  if (const Status status = check_needed(reader, header); !status) return status.error();
  std::vector<const Column*> columns;
  for (const std::string& name : header) {
    const auto known = std::find_if(known_columns().begin(), known_columns().end(),
                                    [&name](const Column& column) { return column.name == name; });
    if (known == known_columns().end()) {
      return reader.error(fmt::format("column '{}' is not known; did you mean {}? Known are {}",
                                      utf8_prefix(name, schema::kMaxShownBytes), nearest(name, names_of({})),
                                      fmt::join(names_of({}), ", ")));
    }
    if (std::count(header.begin(), header.end(), name) > 1)
      return reader.error(fmt::format("column {} is there twice; remove one", name));
    columns.push_back(&*known);
  }
  return columns;
}

Result<TraceJob> job_of(const CsvReader& reader, const std::vector<const Column*>& columns,
                        const std::vector<std::string>& fields) {
  TraceJob job;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const Column& column = *columns[i];
    if (fields[i].empty() && column.part == Part::kTerms) continue;
    if (column.parse(fields[i], job)) continue;
    return reader.error(fmt::format("{} is '{}' and must be {}", column.name,
                                    utf8_prefix(fields[i], schema::kMaxShownBytes), column.wanted));
  }
  return job;
}

}  // namespace

Result<std::vector<TraceJob>> read_trace(std::istream& in, const std::string& name, std::size_t limit) {
  Result<CsvReader> reader = CsvReader::open(in, name);
  if (!reader) return reader.error();
  const Result<std::vector<const Column*>> columns = columns_of(*reader);
  if (!columns) return columns.error();
  std::vector<TraceJob> jobs;
  std::vector<std::string> fields;
  while (jobs.size() < limit) {
    const Result<bool> some = reader->next(fields);
    if (!some) return some.error();
    if (!*some) break;
    if (jobs.size() == kMostTraceJobs)
      return reader->error(fmt::format("it has more than {} jobs; take fewer with --limit", kMostTraceJobs));
    Result<TraceJob> job = job_of(*reader, *columns, fields);
    if (!job) return job.error();
    jobs.push_back(std::move(job).value());
  }
  if (jobs.empty()) return reader->error("no job follows the header; there is nothing to simulate");
  const auto first = std::min_element(jobs.begin(), jobs.end(), [](const TraceJob& a, const TraceJob& b) {
    return a.arrived_s < b.arrived_s;
  });
  const double begin_s = first->arrived_s;
  for (TraceJob& job : jobs) job.arrived_s -= begin_s;
  return jobs;
}

Result<std::vector<TraceJob>> read_trace_file(const std::string& file, std::size_t limit) {
  if (file == "-") return read_trace(std::cin, "standard input", limit);
  std::ifstream in(file, std::ios::binary);
  if (in) return read_trace(in, fmt::format("'{}'", file), limit);
  return invalid_argument(fmt::format("cannot read '{}': {}", file, std::generic_category().message(errno)));
}

}  // namespace dslad::ctl
