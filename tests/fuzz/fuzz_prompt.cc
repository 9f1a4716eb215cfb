// A chat template and, behind a null byte, dslad.toml; then a document through them.
#include "tests/fuzz/fuzz.h"
#include "tests/worker/fake_tokenizer.h"
#include "worker/text/prompt.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dslad::worker;
  static const testing::FakeTokenizer tokenizer = [] {
    testing::FakeTokenizer made(std::vector<std::string>(300));
    made.special_tokens.bos = 256;
    made.special_tokens.eos = 257;
    made.names = {
        {256, "<s>"}, {257, "</s>"}, {258, "<|im_start|>"}, {259, "<|im_end|>"}, {260, "<|eot_id|>"}};
    return made;
  }();
  const std::string_view text = dslad::fuzz::text_of(data, size);
  const std::size_t end = text.find('\0');
  PromptSources sources;
  sources.chat = ChatTemplateText{std::string(text.substr(0, end)), "chat_template.jinja"};
  if (end != std::string_view::npos) sources.settings = std::string(text.substr(end + 1));
  const auto prompt = PromptTemplate::create(sources, tokenizer);
  if (!prompt) return 0;
  for (const PromptText& made :
       {prompt->summarize("A text."), prompt->qa("A text.", "Who?"), prompt->generate("Once")}) {
    (void)encode_head(tokenizer, made);
    for (const PromptPiece* piece : {&made.head, &made.tail}) {
      std::size_t last = 0;
      for (const TextRange& range : piece->from_template) {
        if (range.begin < last || range.end < range.begin || range.end > piece->text.size()) std::abort();
        last = range.end;
      }
    }
  }
  return 0;
}
