// The verbs of dslad-model. Each prints its result to stdout, errors to stderr, and returns the exit status:
// 0, or 1 when it failed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/tools/options.h"

namespace dslad::worker {

// The model's shape, size and memory per token, its prompts and its conversion chain. `tokens`: the prompts
// token by token, too. Reads headers only; where there is a chain, all of the weights once, for their digest.
int inspect(const ToolOptions& options, bool tokens);

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
  int questions = 0;  // on a document of each of prompt_tokens
};

// Prefill and decode speed of this model on this machine.
int bench(const ToolOptions& options, const BenchOptions& bench);

struct EvalOptions {
  std::vector<std::string> files;       // see worker/eval/eval_data.h
  std::string plans;                    // "all" (of the chain) or "0,4,6"; empty: 0 and options.plan
  std::int64_t limit = 0;               // items of each file; 0: all
  std::uint32_t max_tokens = 128;       // of each generated answer
  std::int64_t window = 0, stride = 0;  // tokens, of perplexity; 0: the context, half a window
  std::string out;                      // results file; empty: none
  bool resume = false;                  // go on with it
  std::uint64_t seed = 1;               // of the bootstrap
  bool write_chain = false;             // put what was measured into the chain
  std::string chain;                    // its folder; empty: MODEL/dsla
};

// Measures the model on files of text, questions, summaries and choices, under one or more plans; prints
// tables by plan, or with --json one object (worker/eval/summary_report.h).
int eval(const ToolOptions& options, const EvalOptions& eval);

struct ChainArguments {
  std::string model, file;
  bool replace = false, json = false;
};

// A model's chain as one file, and such a file's chain beside a model.
int chain_export(const ChainArguments& arguments);
int chain_import(const ChainArguments& arguments);

}  // namespace dslad::worker
