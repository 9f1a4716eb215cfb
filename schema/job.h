// The words of the job queue that client, daemon and worker share: tasks, states, what a job asks for
// and what it yields. Plain values. Each enum's strings are used on the wire, in the database and by the
// tools.
//
// `fields` names each member's key on the wire (see codec.h); a key that is absent leaves the default.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dslad::schema {

using JobId = std::int64_t;  // given by the store, >= 1, never used twice

enum class Task : std::uint8_t { kSummarize, kQa, kGenerate };
enum class JobState : std::uint8_t { kQueued, kRunning, kSucceeded, kFailed, kCancelled, kExpired };
enum class Phase : std::uint8_t { kWaiting, kPrefill, kDecode };
enum class FinishReason : std::uint8_t { kStop, kLength };

// What becomes of a document that is longer than the model's context.
enum class Overflow : std::uint8_t {
  kError,      // the job fails, and says how long the document is
  kTruncate,   // the middle is left out
  kMapReduce,  // parts of it are read one by one: summaries are summarized, the likeliest answer counts
};
enum class LayerState : std::uint8_t {
  kTransformer,  // attention, no DSLA weights
  kPlanned,      // attention runs; a worker is to train DSLA weights and has not begun
  kDistilling,   // DSLA weights being trained
  kDistilled,    // attention runs; DSLA weights are ready
  kActive,       // DSLA runs
  kReverted,     // attention runs again after DSLA had been active
  kFailed,       // conversion did not reach its quality; attention runs
};

enum class PolicyKind : std::uint8_t {
  kManual,     // a person sets the plan
  kStatic,     // one plan for all jobs that allow it
  kThreshold,  // by the longest prompt and the number of jobs, as in the DSLA paper's code
  kDeadline,   // the smallest plan by which what waits is done in time
};

enum class QueueMode : std::uint8_t {
  kOpen,
  kPaused,    // jobs are taken and none is given out; what runs goes on
  kDraining,  // no job is taken; what waits is run
};

std::string_view to_string(Task task);
std::string_view to_string(JobState state);
std::string_view to_string(Phase phase);
std::string_view to_string(FinishReason reason);
std::string_view to_string(Overflow overflow);
std::string_view to_string(LayerState state);
std::string_view to_string(PolicyKind policy);
std::string_view to_string(QueueMode mode);

// Inverse of to_string; false where `text` is none of the words, and `out` stays as it was.
bool parse_word(std::string_view text, Task& out);
bool parse_word(std::string_view text, JobState& out);
bool parse_word(std::string_view text, Phase& out);
bool parse_word(std::string_view text, FinishReason& out);
bool parse_word(std::string_view text, Overflow& out);
bool parse_word(std::string_view text, LayerState& out);
bool parse_word(std::string_view text, PolicyKind& out);
bool parse_word(std::string_view text, QueueMode& out);

// Succeeded, failed, cancelled and expired are final.
bool is_final(JobState state);

struct SamplingOptions {
  std::uint32_t max_tokens = 256;  // of each answer
  double temperature = 0.0;        // 0 is greedy
  double top_p = 1.0;              // (0, 1]
  std::uint64_t seed = 0;

  static void fields(auto& self, auto& field) {
    field("max_tokens", self.max_tokens);
    field("temperature", self.temperature);
    field("top_p", self.top_p);
    field("seed", self.seed);
  }
};

// What a worker needs to run a job.
struct JobSpec {
  Task task = Task::kSummarize;
  std::string document;                // summarize, qa
  std::vector<std::string> questions;  // qa; one output each, in this order
  std::string prompt;                  // generate
  SamplingOptions options;
  std::optional<Overflow> overflow;  // absent: the service's own; a prompt to continue is never cut

  static void fields(auto& self, auto& field) {
    field("task", self.task);
    field("document", self.document);
    field("questions", self.questions);
    field("prompt", self.prompt);
    field("options", self.options);
    field("overflow", self.overflow);
  }

  // kInvalidArgument where a part is missing for the task, given though the task has no use for it,
  // or out of its bounds (limits.h).
  [[nodiscard]] Status validate() const;
};

struct Output {
  std::optional<std::string> question;
  std::string text;
  FinishReason finish_reason = FinishReason::kStop;
  std::uint32_t output_tokens = 0;
  std::uint32_t part =
      0;  // of a document that was read in parts, the one that gave this answer, from 1; else 0

  static void fields(auto& self, auto& field) {
    field("question", self.question);
    field("text", self.text);
    field("finish_reason", self.finish_reason);
    field("output_tokens", self.output_tokens);
    field("part", self.part);
  }
};

// How far a running job is.
struct Progress {
  Phase phase = Phase::kWaiting;
  std::uint64_t prompt_done = 0;   // tokens prefilled so far
  std::uint64_t prompt_total = 0;  // tokens to prefill, 0 while unknown
  std::uint64_t tokens_out = 0;    // of all answers together

  static void fields(auto& self, auto& field) {
    field("phase", self.phase);
    field("prompt_done", self.prompt_done);
    field("prompt_total", self.prompt_total);
    field("tokens_out", self.tokens_out);
  }
};

}  // namespace dslad::schema
