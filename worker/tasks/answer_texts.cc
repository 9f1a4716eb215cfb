#include "worker/tasks/answer_texts.h"

#include <algorithm>

namespace dslad::worker {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

}  // namespace

AnswerTexts::AnswerTexts(const ModelFolder& model, schema::Task task, std::size_t answers,
                         TextPosition position)
    : model_(&model), trims_(task != schema::Task::kGenerate) {
  for (std::size_t i = 0; i < answers; ++i)
    answers_.push_back({StreamDecoder(*model.tokenizer, position), {}});
}

bool AnswerTexts::add_token(int tail, std::int32_t token) {
  Answer& answer = this->answer(tail);
  ++answer.output.output_tokens;
  const std::string piece = answer.decoder.add(token);
  answer.output.text += piece;
  return !cut_at_stop_text(answer.output.text, piece.size());
}

bool AnswerTexts::cut_at_stop_text(std::string& text, std::size_t added) const {
  std::size_t cut = std::string::npos;
  for (const std::string& stop : model_->prompt.stop()) {
    // A match must use one of the new bytes, or it would have been found before.
    const std::size_t unseen = added + stop.size();
    cut = std::min(cut, text.find(stop, text.size() - std::min(text.size(), unseen)));
  }
  if (cut == std::string::npos) return false;
  text.resize(cut);
  return true;
}

void AnswerTexts::end(int tail, AnswerEnd end, double mean_log_p) {
  Answer& answer = this->answer(tail);
  schema::Output& output = answer.output;
  output.finish_reason =
      end == AnswerEnd::kStop ? schema::FinishReason::kStop : schema::FinishReason::kLength;
  if (end == AnswerEnd::kLength) output.text += answer.decoder.finish();
  if (trims_) output.text = std::string(trimmed(output.text));
  answer.mean_log_p = mean_log_p;
  answer.ended = true;
  ++ended_;
}

std::size_t AnswerTexts::held_back(std::string_view text) const {
  std::size_t held = 0;
  for (const std::string& stop : model_->prompt.stop()) {
    for (std::size_t length = std::min(stop.size() - 1, text.size()); length > held; --length) {
      if (text.ends_with(std::string_view(stop).substr(0, length))) held = length;
    }
  }
  return held;
}

std::string_view AnswerTexts::settled(int tail) const {
  const Answer& answer = answers_[static_cast<std::size_t>(tail)];
  std::string_view text = answer.output.text;
  if (answer.ended) return text;
  text.remove_suffix(held_back(text));
  return trims_ ? trimmed(text) : text;
}

}  // namespace dslad::worker
