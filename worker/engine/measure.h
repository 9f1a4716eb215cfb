// How fast a model runs prompts and answers of given sizes: what `dslad-model bench` and bench/ report.
//
// Tokens and cache contents are made up: speed does not depend on them.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "worker/engine/engine.h"

namespace dslad::worker {

struct Speed {
  std::int64_t tokens = 0;
  double seconds = 0;
  [[nodiscard]] double tokens_per_s() const {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
  }
};

// `requests` prompts of `tokens` tokens each through an idle engine, to their first answer token. REQUIRES:
// the engine takes no snapshots, or has not seen these prompts.
Result<Speed> measure_prefill(Engine& engine, const std::shared_ptr<const Plan>& plan, int requests,
                              std::int64_t tokens);

// The same with answers of `answer` tokens each: `tokens` of the result are those of prompts and answers.
Result<Speed> measure_jobs(Engine& engine, const std::shared_ptr<const Plan>& plan, int requests,
                           std::int64_t tokens, std::int64_t answer);

// The `number`-th question, of kQuestionTokens tokens, on one and the same document of `tokens` tokens, until
// its answer of kAnswerTokens is there.
inline constexpr std::int64_t kQuestionTokens = 24, kAnswerTokens = 16;
Result<Speed> measure_question(Engine& engine, const std::shared_ptr<const Plan>& plan, int number,
                               std::int64_t tokens);

// `sequences` side by side, each with `context` tokens behind it, for `steps` decode steps, greedy sampling
// included. Needs no prefill: the caches (taken for the call) are filled with a constant.
// REQUIRES: the plan is of these weights.
Result<Speed> measure_decode(kernels::Backend& backend, std::shared_ptr<const ModelWeights> weights,
                             const std::shared_ptr<const Plan>& plan, int sequences, std::int64_t context,
                             std::int64_t steps);

}  // namespace dslad::worker
