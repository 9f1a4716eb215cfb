#include "worker/text/stream_decoder.h"

#include "base/utf8.h"

namespace dslad::worker {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, TextPosition position)
    : tokenizer_(&tokenizer),
      drop_space_(position == TextPosition::kBeginning && tokenizer.adds_leading_space()) {}

std::string StreamDecoder::add(TokenId id) {
  std::string_view bytes = tokenizer_->bytes_of(id);
  if (drop_space_ && !bytes.empty()) {
    drop_space_ = false;
    if (bytes.front() == ' ') bytes.remove_prefix(1);
  }
  pending_ += bytes;

  std::string text;
  std::size_t at = 0;
  while (at < pending_.size()) {
    const Utf8Step step = utf8_at(pending_, at);
    if (step.form == Utf8Form::kCut) break;
    text += step.form == Utf8Form::kCharacter ? std::string_view(pending_).substr(at, step.length)
                                              : kReplacementCharacter;
    at += step.length;
  }
  pending_.erase(0, at);
  return text;
}

std::string StreamDecoder::finish() {
  drop_space_ = false;
  const bool cut = !pending_.empty();
  pending_.clear();
  return cut ? std::string(kReplacementCharacter) : std::string{};
}

}  // namespace dslad::worker
