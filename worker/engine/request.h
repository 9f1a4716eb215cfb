// What the engine is asked for, and what it tells while it works. Plain values; ids are the caller's own.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "worker/engine/plan.h"

namespace dslad::worker {

using RequestId = std::uint64_t;

// One prompt head (the document) and one or more tails (the questions); each tail gets an answer. The head is
// processed once for all of them.
struct EngineRequest {
  RequestId id = 0;
  std::vector<std::int32_t> head;                // not empty
  std::vector<std::vector<std::int32_t>> tails;  // not empty; only a single tail may itself be empty
  std::shared_ptr<const Plan> plan;              // not null; the request keeps it to its end
  std::int64_t max_tokens = 256;                 // of each answer; an answer also ends at the context's end
  float temperature = 0.0f;
  float top_p = 1.0f;
  std::uint64_t seed = 0;
  bool likelihoods = false;  // tell how likely each answer is, by the model alone: whatever the temperature
  std::vector<std::int32_t> ends;  // tokens that end an answer, beside those of the model's config
  bool ignore_eos = false;         // for measurements: every answer has max_tokens tokens
};

enum class AnswerEnd : std::uint8_t { kStop, kLength };

struct RequestProgress {
  std::int64_t prompt_done = 0, prompt_total = 0;  // tokens of head and tails
  std::int64_t output_tokens = 0;
  std::int64_t reused = 0;  // of prompt_done: tokens that a snapshot spared, done from the start

  RequestProgress& operator+=(const RequestProgress& other) {
    prompt_done += other.prompt_done;
    prompt_total += other.prompt_total;
    output_tokens += other.output_tokens;
    reused += other.reused;
    return *this;
  }
};

// What an engine must have at least to run a request.
struct RequestNeeds {
  std::int64_t context = 0;     // tokens
  std::size_t cache_bytes = 0;  // with the context that the engine asked has
};

// A step's time is divided among its sequences by their rows, whatever those are part of: the shares of all
// requests add up to the time that the engine worked.
struct RequestTimes {
  double prefill_ms = 0;       // wall time of the steps that processed part of its prompt
  double decode_ms = 0;        // wall time of its other steps
  double prefill_work_ms = 0;  // its share of the steps' time, for rows of its prompt
  double decode_work_ms = 0;   // the same for its answers' tokens
  std::int64_t decode_steps = 0;
  std::int64_t decode_company = 0;  // sequences in those steps, its own included, summed

  // Of several requests together. Wall time that they ran side by side counts for each.
  RequestTimes& operator+=(const RequestTimes& other) {
    prefill_ms += other.prefill_ms;
    decode_ms += other.decode_ms;
    prefill_work_ms += other.prefill_work_ms;
    decode_work_ms += other.decode_work_ms;
    decode_steps += other.decode_steps;
    decode_company += other.decode_company;
    return *this;
  }

  // Sequences in a step of its decoding, on average; 0 without one.
  [[nodiscard]] double batch() const {
    return decode_steps > 0 ? static_cast<double>(decode_company) / static_cast<double>(decode_steps) : 0;
  }
};

// Receives what a step produced, on the thread that called step(). Must not call back into the engine.
class EngineSink {
 public:
  virtual ~EngineSink() = default;
  // A token of the answer to tail `tail`; false ends the answer after it (a stop text was found).
  virtual bool on_token(RequestId id, int tail, std::int32_t token) = 0;
  // `mean_log_p`: the mean log-probability of the answer's tokens, of the one that ended it too; 0 where the
  // request does not ask for it.
  virtual void on_answer(RequestId id, int tail, AnswerEnd end, double mean_log_p) = 0;
  virtual void on_progress(RequestId id, const RequestProgress& progress) = 0;
  // All answers are complete; the request is forgotten.
  virtual void on_done(RequestId id, const RequestProgress& progress, const RequestTimes& times) = 0;
  // The request has no answer and is forgotten. kCorrupt: its logits are not finite; the error says of which
  // plan.
  virtual void on_failed(RequestId id, const RequestProgress& progress, const RequestTimes& times,
                         const Error& error) = 0;
};

}  // namespace dslad::worker
