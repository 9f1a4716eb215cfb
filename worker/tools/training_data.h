// The sequences a student is distilled on, from files: read once, cut, and some of them held out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "worker/distill/batch.h"
#include "worker/distill/corpus.h"
#include "worker/model/config.h"

namespace dslad::worker {

struct TrainingDataOptions {
  std::vector<std::string> files;  // plain text, or qa and summarize files (eval/eval_data.h)
  CorpusOptions corpus;
  std::int64_t held_out_tokens = 16384;  // about, at most a fifth of all; spread evenly over the files
};

struct TrainingData {
  std::vector<TrainingBatch> training, held_out;  // sequences; neither is empty
  std::int64_t training_tokens = 0, held_out_tokens = 0;
  std::int64_t too_long = 0;           // documents and questions left out
  nlohmann::ordered_json description;  // files with their digests, and the options: for the recipe
};

// `model`: the directory, for its tokenizer and prompt template. Errors: those of the files (named, with the
// line); kInvalidArgument when they hold fewer than two sequences or one of choices.
Result<TrainingData> load_training_data(const std::filesystem::path& model, const LlamaConfig& config,
                                        const TrainingDataOptions& options);

}  // namespace dslad::worker
