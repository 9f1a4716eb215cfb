#include "worker/tasks/model_folder.h"

#include "worker/files/model_path.h"

namespace dslad::worker {

Result<ModelFolder> ModelFolder::load(const std::filesystem::path& dir, kernels::WeightFormat format,
                                      const LoadProgress& progress, const std::filesystem::path& chain,
                                      std::shared_ptr<kernels::Device> device) {
  std::error_code missing;
  const bool there = is_gguf(dir) ? std::filesystem::is_regular_file(dir, missing)
                                  : std::filesystem::is_directory(dir, missing);
  if (!there) {
    return Error{ErrorCode::kNotFound,
                 dir.string() + " is no model; name a Hugging Face folder or a file that ends in .gguf"};
  }
  auto tokenizer = load_tokenizer(dir);
  if (!tokenizer) return tokenizer.error();
  auto prompt = PromptTemplate::load(dir, **tokenizer);
  if (!prompt) return prompt.error();
  auto weights = load_weights(dir, format, progress, std::move(device));
  if (!weights) return weights.error();
  LoadedChain loaded = load_chain_in(chain.empty() ? chain_folder(dir) : chain, ChainModel::of(**weights));
  auto ends = answer_ends((*weights)->config.eos_token_ids, **tokenizer, *prompt);
  return ModelFolder{model_name(dir),       *std::move(weights), std::move(loaded),
                     *std::move(tokenizer), *std::move(prompt),  std::move(ends)};
}

}  // namespace dslad::worker
