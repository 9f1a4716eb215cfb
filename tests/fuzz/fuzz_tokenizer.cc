// tokenizer.json, and a text through what it describes.
#include "tests/fuzz/fuzz.h"
#include "worker/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dslad::worker;
  dslad::fuzz::Folder::write("tokenizer.json", dslad::fuzz::text_of(data, size));
  const auto tokenizer = load_tokenizer(dslad::fuzz::Folder::path());
  if (!tokenizer) return 0;
  constexpr std::string_view kText =
      "It's a café,  naïve\r\n\n\t漢字 e\u0301 12345 🙂🙂 <s></s> \u00a0";
  for (const TextPosition position : {TextPosition::kBeginning, TextPosition::kContinuation}) {
    const TextRange all{0, kText.size()};
    const auto ids = (*tokenizer)->encode(kText, position, {&all, 1});
    if (!ids) continue;
    for (const TokenId id : *ids) {
      if (id < 0 || id >= (*tokenizer)->vocab_size()) std::abort();
    }
    (void)(*tokenizer)->decode(*ids, position);
  }
  return 0;
}
