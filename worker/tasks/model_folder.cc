#include "worker/tasks/model_folder.h"

namespace dslad::worker {

Result<ModelFolder> ModelFolder::load(const std::filesystem::path& dir, kernels::DType dtype,
                                      const LoadProgress& progress, const std::filesystem::path& chain) {
  std::error_code missing;
  if (!std::filesystem::is_directory(dir, missing)) {
    return Error{ErrorCode::kNotFound, dir.string() + " is no directory; name a Hugging Face model folder"};
  }
  auto prompt = PromptTemplate::load(dir);
  if (!prompt) return prompt.error();
  auto tokenizer = load_tokenizer(dir);
  if (!tokenizer) return tokenizer.error();
  auto weights = load_weights(dir, dtype, progress);
  if (!weights) return weights.error();
  const std::filesystem::path full = std::filesystem::weakly_canonical(dir, missing);
  LoadedChain loaded = load_chain_in(chain.empty() ? chain_folder(dir) : chain, (*weights)->config,
                                     (*weights)->digest, (*weights)->dtype);
  return ModelFolder{full.filename().string(), *std::move(weights), std::move(loaded), *std::move(tokenizer),
                     *std::move(prompt)};
}

}  // namespace dslad::worker
