#include "ctl/batch_line.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "ctl/batch_label.h"
#include "ctl/format.h"
#include "ctl/json.h"

namespace dslad::ctl {
namespace {

using LineJson = nlohmann::ordered_json;

std::string dumped(const LineJson& line) {
  return line.dump(-1, ' ', false, LineJson::error_handler_t::replace) + "\n";
}

bool shows_rerun(const schema::JobResult& result) {
  return result.job.upgrade && result.rerun && !result.rerun->outputs.empty();
}

// As OpenAI's names them, so that programs which know those find them.
LineJson error_of(const schema::JobInfo& job) {
  switch (job.state) {
    case schema::JobState::kCancelled:
      return {{"code", "batch_cancelled"}, {"message", "the job was cancelled"}};
    case schema::JobState::kExpired:
      return {{"code", "batch_expired"}, {"message", "the job's time was up before it was done"}};
    default:
      break;
  }
  const Error error = job.error.value_or(Error{ErrorCode::kInternal, "no reason is known"});
  return {{"code", std::string(to_string(error.code))}, {"message", error.message}};
}

LineJson usage_of(const schema::JobMetrics& metrics) {
  return {{"prompt_tokens", metrics.prompt_tokens},
          {"completion_tokens", metrics.output_tokens},
          {"total_tokens", metrics.prompt_tokens + metrics.output_tokens}};
}

// Which model, less exact than its first plan, has answered: OpenAI's form has no place for that.
LineJson plan_of(const schema::JobMetrics& metrics) {
  return {{"plan", metrics.plan},
          {"quality", metrics.quality ? LineJson(*metrics.quality) : LineJson(nullptr)},
          {"edition", metrics.edition},
          {"why", metrics.why}};
}

LineJson choice_of(RowKind kind, const schema::Output& output) {
  LineJson choice = {{"index", 0}};
  if (kind == RowKind::kChat) {
    choice["message"] = {{"role", "assistant"}, {"content", output.text}};
  } else {
    choice["text"] = output.text;
  }
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = std::string(to_string(output.finish_reason));
  return choice;
}

LineJson completion_of(RowKind kind, const schema::JobResult& result) {
  const bool chat = kind == RowKind::kChat;
  const bool rerun = shows_rerun(result);
  const schema::JobMetrics& metrics = rerun ? result.rerun->metrics : result.metrics;
  LineJson choices = LineJson::array();
  for (const schema::Output& output : rerun ? result.rerun->outputs : result.outputs)
    choices.push_back(choice_of(kind, output));
  return {{"id", fmt::format("{}-{}", chat ? "chatcmpl" : "cmpl", result.job.id)},
          {"object", chat ? "chat.completion" : "text_completion"},
          {"created", result.job.ended_ms / 1000},
          {"model", metrics.model},
          {"choices", std::move(choices)},
          {"usage", usage_of(metrics)},
          {"dslad", plan_of(metrics)}};
}

LineJson openai_line(const std::string& batch, RowKind kind, const schema::JobResult& result) {
  const schema::JobInfo& job = result.job;
  LineJson line = {{"id", fmt::format("{}-{}", batch, job.id)}, {"custom_id", job.custom_id}};
  if (job.state == schema::JobState::kSucceeded) {
    line["response"] = {{"status_code", 200},
                        {"request_id", fmt::format("job-{}", job.id)},
                        {"body", completion_of(kind, result)}};
    line["error"] = nullptr;
  } else {
    line["response"] = nullptr;
    line["error"] = error_of(job);
  }
  return line;
}

constexpr std::array<std::string_view, 2> kBeginnings = {R"({"custom_id":)", R"({"id":"batch_)"};

bool may_begin_a_line(std::string_view text) {
  return std::any_of(kBeginnings.begin(), kBeginnings.end(), [text](std::string_view beginning) {
    const std::size_t length = std::min(text.size(), beginning.size());
    return text.substr(0, length) == beginning.substr(0, length);
  });
}

// The batch that a line belongs to; empty where it belongs to none.
std::string batch_of(const LineJson& line) {
  const std::string key = line.contains("batch") ? "batch" : "id";
  const auto found = line.find(key);
  if (found == line.end() || !found->is_string()) return {};
  return found->get_ref<const std::string&>().substr(0, kNoBatch.size());
}

Result<std::string> key_of_line(const std::string& batch, std::string_view text) {
  const LineJson line = LineJson::parse(text, nullptr, false);
  if (!line.is_object() || !check_batch_id(batch_of(line)))
    return invalid_argument("it is no line of a batch's output");
  if (batch_of(line) != batch)
    return invalid_argument(fmt::format("it is of {}, not of {}", batch_of(line), batch));
  const auto error = line.find("error");
  if (error != line.end() && error->is_object() && error->contains("line") &&
      error->at("line").is_number_unsigned())
    return bad_row_key(error->at("line").get<std::uint64_t>());
  const auto custom_id = line.find("custom_id");
  if (custom_id == line.end() || !custom_id->is_string()) return invalid_argument("its custom_id is missing");
  return job_key(custom_id->get_ref<const std::string&>());
}

}  // namespace

std::string result_line(const std::string& batch, const schema::JobResult& result) {
  const RowKind kind = kind_of(result.job.labels);
  if (kind != RowKind::kNative) return dumped(openai_line(batch, kind, result));
  return to_json(BatchOutcome{batch, result});
}

std::string bad_row_line(const std::string& batch, std::uint64_t line, const std::string& custom_id,
                         const Error& error) {
  LineJson name = nullptr;
  if (!custom_id.empty()) name = custom_id;
  return dumped({{"id", fmt::format("{}-line-{}", batch, line)},
                 {"custom_id", std::move(name)},
                 {"response", nullptr},
                 {"error",
                  {{"code", error.code == ErrorCode::kInvalidArgument ? "invalid_request"
                                                                      : std::string(to_string(error.code))},
                   {"message", error.message},
                   {"line", line}}}});
}

std::string job_key(std::string_view custom_id) {
  return fmt::format("job {}", custom_id);
}

std::string bad_row_key(std::uint64_t line) {
  return fmt::format("line {}", line);
}

LineForm form_of(const std::string& batch) {
  return {[batch](std::string_view line) { return key_of_line(batch, line); }, may_begin_a_line};
}

bool tells_of_failure(std::string_view text) {
  const LineJson line = LineJson::parse(text, nullptr, false);
  if (!line.is_object()) return false;
  const auto state =
      line.find("state");  // a native line; one of a success may tell of an attempt that failed
  if (state != line.end()) return *state != "succeeded";
  const auto error = line.find("error");
  return error != line.end() && error->is_object() && !error->contains("line");
}

}  // namespace dslad::ctl
