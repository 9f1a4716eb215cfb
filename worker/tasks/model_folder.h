// A model (a Hugging Face folder, or a GGUF file with its companions), loaded: weights, conversion chain,
// tokenizer and prompt template, which belong together.
//
// Immutable after loading: safe from any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/tensor.h"
#include "worker/model/loaded_chain.h"
#include "worker/model/weights.h"
#include "worker/text/answer_ends.h"
#include "worker/text/prompt.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

struct ModelFolder {
  std::string name;  // model_name of its path
  std::shared_ptr<const ModelWeights> weights;
  LoadedChain chain;  // of MODEL/dsla, or of the folder asked for; its warning is the caller's to show
  std::shared_ptr<const Tokenizer> tokenizer;
  PromptTemplate prompt;
  std::vector<AnswerEndToken> ends;  // any of them ends an answer

  // The small files are read first, so that a mistake in them shows before gigabytes of weights are read.
  // `chain`: the chain's folder; empty: MODEL/dsla.
  static Result<ModelFolder> load(const std::filesystem::path& dir, kernels::WeightFormat format,
                                  const LoadProgress& progress = {}, const std::filesystem::path& chain = {},
                                  std::shared_ptr<kernels::Device> device = kernels::cpu_device());
};

}  // namespace dslad::worker
