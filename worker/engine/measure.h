// How fast an engine runs prompts and answers of given sizes: what `dslad-model bench` and bench/ report.
//
// Tokens are seeded noise: speed does not depend on them. REQUIRES for all: the engine is idle and the sizes
// fit it.
#pragma once

#include <cstdint>

#include "schema/result.h"
#include "worker/engine/engine.h"

namespace dslad::worker {

struct Speed {
  std::int64_t tokens = 0;
  double seconds = 0;
  [[nodiscard]] double tokens_per_s() const {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
  }
};

// `requests` prompts of `tokens` tokens each, to their first answer token.
Result<Speed> measure_prefill(Engine& engine, int requests, std::int64_t tokens, int plan);

// `requests` sequences side by side, each with `context` tokens behind it, for `steps` decode steps.
Result<Speed> measure_decode(Engine& engine, int requests, std::int64_t context, std::int64_t steps,
                             int plan);

}  // namespace dslad::worker
