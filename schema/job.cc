#include "schema/job.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <fmt/format.h>

#include "schema/limits.h"

namespace dslad::schema {
namespace {

constexpr std::array<std::string_view, 3> kTasks = {"summarize", "qa", "generate"};
constexpr std::array<std::string_view, 6> kJobStates = {"queued", "running",   "succeeded",
                                                        "failed", "cancelled", "expired"};
constexpr std::array<std::string_view, 3> kPhases = {"waiting", "prefill", "decode"};
constexpr std::array<std::string_view, 2> kFinishReasons = {"stop", "length"};
constexpr std::array<std::string_view, 3> kOverflows = {"error", "truncate", "map-reduce"};
constexpr std::array<std::string_view, 7> kLayerStates = {
    "transformer", "planned", "distilling", "distilled", "active", "reverted", "failed"};
constexpr std::array<std::string_view, 4> kPolicies = {"manual", "static", "threshold", "deadline"};
constexpr std::array<std::string_view, 3> kQueueModes = {"open", "paused", "draining"};

template <typename Enum, std::size_t N>
bool find_word(const std::array<std::string_view, N>& words, std::string_view text, Enum& out) {
  for (std::size_t i = 0; i < N; ++i) {
    if (words[i] != text) continue;
    out = static_cast<Enum>(i);
    return true;
  }
  return false;
}

template <typename Enum, std::size_t N>
std::string_view word(const std::array<std::string_view, N>& words, Enum value) {
  return words.at(static_cast<std::size_t>(value));
}

Status check_size(std::string_view name, std::size_t bytes, std::size_t limit) {
  if (bytes <= limit) return ok_status();
  return invalid_argument(fmt::format("{} has {} bytes; at most {} are taken: split it", name, bytes, limit));
}

Status check_options(const SamplingOptions& options) {
  if (options.max_tokens == 0 || options.max_tokens > kMaxTokens) {
    return invalid_argument(
        fmt::format("max_tokens is {}; it must be from 1 to {}", options.max_tokens, kMaxTokens));
  }
  if (!(options.temperature >= 0.0 && options.temperature <= 10.0)) {
    return invalid_argument(fmt::format("temperature is {}; it must be from 0 to 10", options.temperature));
  }
  if (!(options.top_p > 0.0 && options.top_p <= 1.0)) {
    return invalid_argument(fmt::format("top_p is {}; it must be above 0 and at most 1", options.top_p));
  }
  return ok_status();
}

Status check_questions(const JobSpec& spec) {
  if (spec.task != Task::kQa) {
    if (spec.questions.empty()) return ok_status();
    return invalid_argument(fmt::format("task {} takes no questions; use task qa", to_string(spec.task)));
  }
  if (spec.questions.empty()) return invalid_argument("task qa needs at least one question");
  if (spec.questions.size() > kMaxQuestions) {
    return invalid_argument(fmt::format("{} questions; one job takes at most {}: submit several jobs",
                                        spec.questions.size(), kMaxQuestions));
  }
  for (const std::string& question : spec.questions) {
    if (question.empty()) return invalid_argument("a question is empty");
    if (Status status = check_size("a question", question.size(), kMaxQuestionBytes); !status) return status;
  }
  return ok_status();
}

}  // namespace

std::string_view to_string(Task task) {
  return word(kTasks, task);
}
std::string_view to_string(JobState state) {
  return word(kJobStates, state);
}
std::string_view to_string(Phase phase) {
  return word(kPhases, phase);
}
std::string_view to_string(FinishReason reason) {
  return word(kFinishReasons, reason);
}
std::string_view to_string(Overflow overflow) {
  return word(kOverflows, overflow);
}
std::string_view to_string(LayerState state) {
  return word(kLayerStates, state);
}
std::string_view to_string(PolicyKind policy) {
  return word(kPolicies, policy);
}
std::string_view to_string(QueueMode mode) {
  return word(kQueueModes, mode);
}

bool parse_word(std::string_view text, Task& out) {
  return find_word(kTasks, text, out);
}
bool parse_word(std::string_view text, JobState& out) {
  return find_word(kJobStates, text, out);
}
bool parse_word(std::string_view text, Phase& out) {
  return find_word(kPhases, text, out);
}
bool parse_word(std::string_view text, FinishReason& out) {
  return find_word(kFinishReasons, text, out);
}
bool parse_word(std::string_view text, Overflow& out) {
  return find_word(kOverflows, text, out);
}
bool parse_word(std::string_view text, LayerState& out) {
  return find_word(kLayerStates, text, out);
}
bool parse_word(std::string_view text, PolicyKind& out) {
  return find_word(kPolicies, text, out);
}
bool parse_word(std::string_view text, QueueMode& out) {
  return find_word(kQueueModes, text, out);
}

bool is_final(JobState state) {
  return state != JobState::kQueued && state != JobState::kRunning;
}

Status JobSpec::validate() const {
  const bool generate = task == Task::kGenerate;
  if (generate && prompt.empty()) return invalid_argument("task generate needs a prompt; it is empty");
  if (!generate && !prompt.empty()) {
    return invalid_argument(fmt::format("task {} takes a document, not a prompt", to_string(task)));
  }
  if (!generate && document.empty()) {
    return invalid_argument(fmt::format("task {} needs a document; it is empty", to_string(task)));
  }
  if (generate && overflow.value_or(Overflow::kError) != Overflow::kError) {
    return invalid_argument(
        fmt::format("task generate takes no overflow '{}': a prompt is never cut", to_string(*overflow)));
  }
  if (generate && !document.empty()) return invalid_argument("task generate takes a prompt, not a document");
  if (Status status = check_size("the document", document.size(), kMaxDocumentBytes); !status) return status;
  if (Status status = check_size("the prompt", prompt.size(), kMaxDocumentBytes); !status) return status;
  if (Status status = check_questions(*this); !status) return status;
  std::size_t bytes = document.size() + prompt.size();
  for (const std::string& question : questions) bytes += question.size();
  if (Status status = check_size("the job", bytes, kMaxJobBytes); !status) return status;
  return check_options(options);
}

}  // namespace dslad::schema
