#include "worker/tasks/task.h"

#include <algorithm>

namespace dslad::worker {
namespace {

std::vector<PromptText> render(const PromptTemplate& prompt, const schema::JobSpec& spec) {
  switch (spec.task) {
    case schema::Task::kSummarize:
      return {prompt.summarize(spec.document)};
    case schema::Task::kGenerate:
      return {prompt.generate(spec.prompt)};
    case schema::Task::kQa:
      break;
  }
  std::vector<PromptText> texts;
  texts.reserve(spec.questions.size());
  for (const std::string& question : spec.questions) texts.push_back(prompt.qa(spec.document, question));
  return texts;
}

void trim(std::string& text) {
  constexpr const char* kSpace = " \t\r\n";
  text.erase(0, std::min(text.find_first_not_of(kSpace), text.size()));
  text.erase(text.find_last_not_of(kSpace) + 1);
}

}  // namespace

Task::Task(const ModelFolder& model, const schema::JobSpec& spec) : model_(&model), kind_(spec.task) {}

Result<Task> Task::create(const ModelFolder& model, const schema::JobSpec& spec, RequestId id,
                          std::shared_ptr<const Plan> plan) {
  const std::vector<PromptText> texts = render(model.prompt, spec);
  if (texts.empty()) return Error{ErrorCode::kInvalidArgument, "the job asks no question"};
  Task task(model, spec);
  // All questions share the head, so the first one's stands for all.
  auto head = encode_head(*model.tokenizer, model.prompt, texts.front());
  if (!head) return head.error();
  task.request_.id = id;
  task.request_.plan = std::move(plan);
  task.request_.head = *std::move(head);
  task.request_.max_tokens = spec.options.max_tokens;
  task.request_.temperature = static_cast<float>(spec.options.temperature);
  task.request_.top_p = static_cast<float>(spec.options.top_p);
  task.request_.seed = spec.options.seed;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    auto tail = encode_tail(*model.tokenizer, texts[i]);
    if (!tail) return tail.error();
    task.request_.tails.push_back(*std::move(tail));
    task.decoders_.emplace_back(*model.tokenizer, position_after(texts[i]));
    task.outputs_.emplace_back();
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
  if (kind_ != schema::Task::kGenerate) trim(output.text);
}

}  // namespace dslad::worker
