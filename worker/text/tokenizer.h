// Text to token ids and back, whatever the model's tokenizer is made of.
//
// Immutable after loading: safe from any thread. Text is UTF-8; anything else is an error that names the
// byte. No id ever makes a call fail or crash: ids outside the vocabulary stand for no bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dslad::worker {

using TokenId = std::int32_t;

// Where a text lies. Many tokenizers put a space before a text's first word and drop it again when they
// decode, so that a word is the same token wherever it stands; only the beginning of a text is treated so.
enum class TextPosition : std::uint8_t {
  kBeginning,     // nothing but bos comes before it
  kContinuation,  // follows other text; keeps its first space, and gets none
};

// Bytes [begin, end) of a text.
struct TextRange {
  std::size_t begin, end;
};

struct SpecialTokens {
  std::optional<TokenId> bos, eos, unknown;
  bool adds_bos = false;  // the tokenizer's own files ask for bos before every text
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // The ids of `text`, never with a bos or eos added. The name of a special token ("<s>", "<|eot_id|>")
  // becomes that token only where it lies within one of `special_names` (sorted, disjoint), which cover
  // what a prompt template wrote and never what users hand in: a document must not be able to end itself. The
  // name of an added token that is not special is that token everywhere.
  // Errors: kInvalidArgument naming the byte offset of malformed UTF-8.
  [[nodiscard]] virtual Result<std::vector<TokenId>> encode(
      std::string_view text, TextPosition position, std::span<const TextRange> special_names = {}) const = 0;

  // What `id` contributes to a text: some bytes, perhaps only a part of a UTF-8 character. Control tokens
  // (bos, eos, ...) contribute none. StreamDecoder turns them into text.
  [[nodiscard]] virtual std::string_view bytes_of(TokenId id) const = 0;

  // Whether a space at the very beginning of a decoded text is the one that encode put there.
  [[nodiscard]] virtual bool adds_leading_space() const = 0;

  [[nodiscard]] virtual TokenId vocab_size() const = 0;  // one more than the highest id

  // The special token of this name, and the name of a special token; of no other tokens.
  [[nodiscard]] virtual std::optional<TokenId> token_named(std::string_view name) const = 0;
  [[nodiscard]] virtual std::string_view name_of(TokenId id) const = 0;

  [[nodiscard]] virtual const SpecialTokens& special() const = 0;

  // The whole text of `ids`; malformed UTF-8 becomes U+FFFD.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids, TextPosition position) const;
};

// The tokenizer of a model: of a GGUF file that in its metadata; of a folder tokenizer.json when it is a BPE
// that dslad implements, else tokenizer.model (sentencepiece), else vocab.json with merges.txt (the older
// form of GPT-2). Errors: kNotFound without any of them; kCorrupt for a malformed one; kInvalidArgument for a
// kind that dslad does not implement (names what it found).
Result<std::unique_ptr<Tokenizer>> load_tokenizer(const std::filesystem::path& dir);

}  // namespace dslad::worker
