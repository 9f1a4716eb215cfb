// What the engine is asked for, and what it tells while it works. Plain values; ids are the caller's own.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

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
  bool ignore_eos = false;  // for measurements: every answer has max_tokens tokens
};

enum class AnswerEnd : std::uint8_t { kStop, kLength };

struct RequestProgress {
  std::int64_t prompt_done = 0, prompt_total = 0;  // tokens of head and tails
  std::int64_t output_tokens = 0;
};

struct RequestTimes {
  double prefill_ms = 0;  // wall time of the steps that processed part of its prompt
  double decode_ms = 0;   // wall time of its other steps
};

// Receives what a step produced, on the thread that called step(). Must not call back into the engine.
class EngineSink {
 public:
  virtual ~EngineSink() = default;
  // A token of the answer to tail `tail`; false ends the answer after it (a stop text was found).
  virtual bool on_token(RequestId id, int tail, std::int32_t token) = 0;
  virtual void on_answer(RequestId id, int tail, AnswerEnd end) = 0;
  virtual void on_progress(RequestId id, const RequestProgress& progress) = 0;
  // All answers are complete; the request is forgotten.
  virtual void on_done(RequestId id, const RequestProgress& progress, const RequestTimes& times) = 0;
};

}  // namespace dslad::worker
