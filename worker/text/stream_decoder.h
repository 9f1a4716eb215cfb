// Token ids to text, one at a time, for one sequence. Not thread-safe: one per sequence.
//
// Every piece returned is well-formed UTF-8: up to three bytes of a character that later ids may complete
// are held back. Bytes that cannot be part of a character become U+FFFD, one for each maximal malformed
// part, as browsers and Hugging Face's decoders do. All pieces together equal Tokenizer::decode.
#pragma once

#include <string>
#include <string_view>

#include "worker/text/tokenizer.h"

namespace dslad::worker {

class StreamDecoder {
 public:
  // `tokenizer` must outlive this. kContinuation: what follows a prompt that ended in text, so that the
  // first word keeps its space. kBeginning: the sequence starts the text (an empty prompt).
  StreamDecoder(const Tokenizer& tokenizer, TextPosition position);

  // The text that `id` completes, often empty.
  [[nodiscard]] std::string add(TokenId id);

  // What was held back, as U+FFFD; the decoder is then as new for a continuation.
  [[nodiscard]] std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool drop_space_;      // the next byte is the first, and a space there is not part of the text
  std::string pending_;  // at most three bytes: the valid beginning of a character
};

}  // namespace dslad::worker
