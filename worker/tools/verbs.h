// The verbs of dslad-model. Each prints its result to stdout, errors to stderr, and returns the exit status:
// 0, or 1 when it failed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/tools/options.h"

namespace dslad::worker {

// The model's shape, size and memory per token; reads headers only.
int inspect(const ToolOptions& options);

struct GenerateOptions {
  std::string prompt;  // "-" reads stdin
  std::uint32_t max_tokens = 256;
  double temperature = 0.0, top_p = 1.0;
  std::uint64_t seed = 0;
};

// Continues the prompt; streams the text, or with --json prints {"prompt_ids", "ids", "text"} at the end.
int generate(const ToolOptions& options, const GenerateOptions& generation);

struct BenchOptions {
  std::vector<std::int64_t> prompt_tokens = {128, 512};
  std::vector<int> batches = {1, 8};
  std::int64_t context = 256;  // tokens behind each sequence that decodes
  std::int64_t steps = 16;
};

// Prefill and decode speed of this model on this machine.
int bench(const ToolOptions& options, const BenchOptions& bench);

}  // namespace dslad::worker
