// A GGUF file as all that is read of it: tensors, configuration, tokenizer.
#include "tests/fuzz/fuzz.h"
#include "worker/model/config.h"
#include "worker/model/weight_files.h"
#include "worker/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dslad::worker;
  const auto file = dslad::fuzz::Folder::write("model.gguf", dslad::fuzz::text_of(data, size));
  const auto weights = WeightFiles::open(file);
  if (weights.ok()) (void)weights->ties(true);
  (void)LlamaConfig::load(file);
  const auto tokenizer = load_tokenizer(file);
  if (!tokenizer) return 0;
  const auto ids = (*tokenizer)->encode("A café,  naïve\n\n\t漢字 🙂 <s>", TextPosition::kBeginning);
  if (!ids) return 0;
  for (const TokenId id : *ids) {
    if (id < 0 || id >= (*tokenizer)->vocab_size()) std::abort();
  }
  (void)(*tokenizer)->decode(*ids, TextPosition::kBeginning);
  return 0;
}
