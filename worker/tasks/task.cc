#include "worker/tasks/task.h"

#include <algorithm>

namespace dslad::worker {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

// The prompt of a job's only answer, or of its first question: the others have the same head.
PromptText render(const PromptTemplate& prompt, const schema::JobSpec& spec) {
  switch (spec.task) {
    case schema::Task::kSummarize:
      return prompt.summarize(spec.document);
    case schema::Task::kGenerate:
      return prompt.generate(spec.prompt);
    case schema::Task::kQa:
      break;
  }
  return prompt.qa(spec.document, spec.questions.front());
}

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

}  // namespace

Task::Task(const ModelFolder& model, const schema::JobSpec& spec) : model_(&model), kind_(spec.task) {}

Result<Task> Task::create(const ModelFolder& model, const schema::JobSpec& spec, RequestId id,
                          std::shared_ptr<const Plan> plan) {
  const bool asks = spec.task == schema::Task::kQa;
  if (asks && spec.questions.empty()) return Error{ErrorCode::kInvalidArgument, "the job asks no question"};
  Task task(model, spec);
  PromptText text = render(model.prompt, spec);
  auto head = encode_head(*model.tokenizer, text);
  if (!head) return head.error();
  const bool head_empty = text.head.text.empty();
  const TextPosition position = position_after(text);
  text.head = {};  // it holds the document
  task.request_.id = id;
  task.request_.plan = std::move(plan);
  task.request_.head = *std::move(head);
  task.request_.ends = ids_of(model.ends);
  task.request_.max_tokens = spec.options.max_tokens;
  task.request_.temperature = static_cast<float>(spec.options.temperature);
  task.request_.top_p = static_cast<float>(spec.options.top_p);
  task.request_.seed = spec.options.seed;
  const std::size_t answers = asks ? spec.questions.size() : 1;
  for (std::size_t i = 0; i < answers; ++i) {
    if (i > 0) text.tail = model.prompt.qa_tail(spec.questions[i]);
    auto tail = encode_tail(*model.tokenizer, text.tail, head_empty);
    if (!tail) return tail.error();
    task.request_.tails.push_back(*std::move(tail));
    task.decoders_.emplace_back(*model.tokenizer, position);
    task.outputs_.emplace_back();
    task.ended_.push_back(false);
  }
  return task;
}

bool Task::add_token(int tail, std::int32_t token) {
  const auto i = static_cast<std::size_t>(tail);
  ++outputs_[i].output_tokens;
  const std::string piece = decoders_[i].add(token);
  outputs_[i].text += piece;
  return !cut_at_stop_text(outputs_[i].text, piece.size());
}

bool Task::cut_at_stop_text(std::string& text, std::size_t added) const {
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

void Task::end_answer(int tail, AnswerEnd end) {
  const auto i = static_cast<std::size_t>(tail);
  schema::Output& output = outputs_[i];
  output.finish_reason =
      end == AnswerEnd::kStop ? schema::FinishReason::kStop : schema::FinishReason::kLength;
  if (end == AnswerEnd::kLength) output.text += decoders_[i].finish();
  if (kind_ != schema::Task::kGenerate) output.text = std::string(trimmed(output.text));
  ended_[i] = true;
}

std::size_t Task::held_back(std::string_view text) const {
  std::size_t held = 0;
  for (const std::string& stop : model_->prompt.stop()) {
    for (std::size_t length = std::min(stop.size() - 1, text.size()); length > held; --length) {
      if (text.ends_with(std::string_view(stop).substr(0, length))) held = length;
    }
  }
  return held;
}

std::string_view Task::settled(int tail) const {
  const auto i = static_cast<std::size_t>(tail);
  std::string_view text = outputs_[i].text;
  if (ended_[i]) return text;
  text.remove_suffix(held_back(text));
  return kind_ == schema::Task::kGenerate ? text : trimmed(text);
}

}  // namespace dslad::worker
