// What the evaluation of one file is asked for, and what it yields beside the records in the results log.
// Plain values.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "worker/eval/score_record.h"

namespace dslad::worker {

struct EvalSettings {
  std::vector<int> plans = {0};    // ascending, each once, 0 first: all else is measured against it
  std::int64_t limit = INT64_MAX;  // items of each file, the first ones
  std::uint32_t max_tokens = 128;  // of each generated answer
  std::int64_t window = 0;         // tokens read at once for perplexity, bos included; 0: the model's context
  std::int64_t stride = 0;         // tokens from window to window; 0: half a window
  // Told how many items, each plan counted, are done, and of how many.
  std::function<void(std::int64_t done, std::int64_t total)> progress = [](std::int64_t, std::int64_t) {};
};

struct EvaluatedFile {
  std::vector<ItemKey> items;  // in the file's order; the log holds a record of each under every plan
  std::int64_t skipped = 0;    // items that the model's context does not hold
};

}  // namespace dslad::worker
