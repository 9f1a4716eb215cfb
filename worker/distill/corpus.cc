#include "worker/distill/corpus.h"

#include <algorithm>
#include <fmt/format.h>
#include <string>

namespace dslad::worker {
namespace {

// One more segment of `sequence`: tokens, of which those from `first_answer` on are to be predicted.
void add_segment(TrainingBatch& sequence, std::span<const TokenId> ids, std::int32_t parent,
                 std::size_t first_answer, float other_weight) {
  const auto first_row = sequence.rows();
  const std::int64_t context = parent < 0 ? 0 : sequence.segments[static_cast<std::size_t>(parent)].rows;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const bool has_next = i + 1 < ids.size(), predicts = has_next && i + 1 >= first_answer;
    sequence.ids.push_back(ids[i]);
    sequence.positions.push_back(static_cast<std::int32_t>(context + static_cast<std::int64_t>(i)));
    sequence.labels.push_back(predicts ? ids[i + 1] : kernels::kNoLabel);
    sequence.kl_weight.push_back(predicts ? 1.0f : (has_next ? other_weight : 0.0f));
  }
  sequence.segments.push_back({first_row, static_cast<std::int64_t>(ids.size()), parent});
}

// A word apart from the prompt, where that does not end in white space itself.
std::string answer_text(const TaskExample::Item& item) {
  const std::string& prompt = item.prompt.tail.text;
  const bool apart = prompt.ends_with('\n') || prompt.ends_with(' ');
  return (apart ? "" : " ") + std::string(item.answer);
}

constexpr float kQuestionWeight = 0.0f;  // users write the questions

}  // namespace

Corpus::Corpus(const Tokenizer& tokenizer, const PromptTemplate& prompt, const LlamaConfig& config,
               const CorpusOptions& options)
    : tokenizer_(tokenizer), prompt_(prompt), config_(config), options_(options) {
  options_.sequence = std::min(options_.sequence, config.context);
}

Result<std::vector<TokenId>> Corpus::checked(Result<std::vector<TokenId>> ids) const {
  if (!ids) return ids;
  for (const TokenId id : *ids) {
    if (id < 0 || id >= config_.vocab_size) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("the tokenizer gives token {}, but the model's vocabulary has {} entries", id,
                               config_.vocab_size)};
    }
  }
  return ids;
}

// The chat template's where prompts follow it, or the model would learn another end than it writes.
std::optional<TokenId> Corpus::answer_end() const {
  for (const PromptEnd& end : prompt_.ends()) {
    if (end.origin == PromptOrigin::kChatTemplate) return end.id;
  }
  if (config_.eos_token_ids.empty()) return tokenizer_.special().eos;
  return config_.eos_token_ids.front();
}

void Corpus::keep(TrainingBatch sequence) {
  tokens_ += sequence.rows();
  sequences_.push_back(std::move(sequence));
}

Status Corpus::add_text(std::string_view text) {
  PromptText nothing;
  nothing.bos = prompt_.bos();
  const auto bos = checked(encode_head(tokenizer_, nothing));
  if (!bos) return bos.error();
  const auto ids = checked(tokenizer_.encode(text, TextPosition::kBeginning));
  if (!ids) return ids.error();
  const std::size_t step = static_cast<std::size_t>(options_.sequence) - bos->size();
  for (std::size_t first = 0; first < ids->size(); first += step) {
    std::vector<TokenId> window = *bos;
    const std::size_t last = std::min(first + step, ids->size());
    window.insert(window.end(), ids->begin() + static_cast<std::ptrdiff_t>(first),
                  ids->begin() + static_cast<std::ptrdiff_t>(last));
    if (window.size() < 2) continue;  // nothing to predict
    TrainingBatch sequence;
    add_segment(sequence, window, -1, 0, 0.0f);
    keep(std::move(sequence));
  }
  return ok_status();
}

Status Corpus::add_task(const TaskExample& example) {
  if (example.items.empty()) return ok_status();
  const auto head = checked(encode_head(tokenizer_, example.items.front().prompt));
  if (!head) return head.error();
  const auto room = options_.sequence - static_cast<std::int64_t>(head->size());
  if (room < 2) {
    ++too_long_;
    return ok_status();
  }
  TrainingBatch sequence;
  add_segment(sequence, *head, -1, head->size(), options_.document_weight);
  for (const TaskExample::Item& item : example.items) {
    if (sequence.segments.size() > options_.questions) break;
    auto tail = checked(encode_tail(tokenizer_, item.prompt));
    if (!tail) return tail.error();
    const auto answer = checked(tokenizer_.encode(answer_text(item), TextPosition::kContinuation));
    if (!answer) return answer.error();
    const std::size_t prompt_tokens = tail->size();
    tail->insert(tail->end(), answer->begin(), answer->end());
    if (const auto end = answer_end()) tail->push_back(*end);
    if (static_cast<std::int64_t>(tail->size()) > room) {
      ++too_long_;
      continue;
    }
    add_segment(sequence, *tail, 0, prompt_tokens, kQuestionWeight);
  }
  if (sequence.segments.size() > 1) keep(std::move(sequence));
  return ok_status();
}

}  // namespace dslad::worker
