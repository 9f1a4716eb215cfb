#include "worker/tasks/job_requests.h"

#include <algorithm>
#include <fmt/format.h>

#include "worker/tasks/windows.h"

namespace dslad::worker {
namespace {

// Of an engine's longest request: what is left for the answer where the document could take all, and what
// windows share with each other.
constexpr std::int64_t kAnswerShare = 4;
constexpr std::int64_t kOverlapShare = 16;

PromptText render(const PromptTemplate& prompt, schema::Task task, std::string_view text,
                  std::string_view question) {
  switch (task) {
    case schema::Task::kSummarize:
      return prompt.summarize(text);
    case schema::Task::kGenerate:
      return prompt.generate(text);
    case schema::Task::kQa:
      break;
  }
  return prompt.qa(text, question);
}

const std::string& text_of(const schema::JobSpec& spec) {
  return spec.task == schema::Task::kGenerate ? spec.prompt : spec.document;
}

}  // namespace

JobRequests::JobRequests(const ModelFolder& model, const schema::JobSpec& spec, std::int64_t longest)
    : model_(&model), kind_(spec.task), options_(spec.options), longest_(longest) {}

Result<JobRequests> JobRequests::create(const ModelFolder& model, const schema::JobSpec& spec,
                                        std::int64_t longest) {
  if (spec.task == schema::Task::kQa && spec.questions.empty())
    return Error{ErrorCode::kInvalidArgument, "the job asks no question"};
  JobRequests requests(model, spec, longest);
  PromptText text =
      render(model.prompt, spec.task, text_of(spec), spec.questions.empty() ? "" : spec.questions.front());
  auto head = worker::encode_head(*model.tokenizer, text);
  if (!head) return head.error();
  requests.answer_position_ = position_after(text);
  const bool head_empty = text.head.text.empty();
  text.head = {};  // it holds the document
  Status status = requests.encode_tails(spec, std::move(text.tail), head_empty);
  if (status) status = requests.read(spec, *std::move(head));
  if (!status) return status.error();
  return requests;
}

Status JobRequests::encode_tails(const schema::JobSpec& spec, PromptPiece first, bool head_empty) {
  for (std::size_t i = 0; i < std::max<std::size_t>(spec.questions.size(), 1); ++i) {
    if (i > 0) first = model_->prompt.qa_tail(spec.questions[i]);
    auto tail = encode_tail(*model_->tokenizer, first, head_empty);
    if (!tail) return tail.error();
    longest_tail_ = std::max(longest_tail_, std::ssize(*tail));
    tails_.push_back(*std::move(tail));
  }
  return ok_status();
}

Result<std::vector<TokenId>> JobRequests::encode_head(std::string_view document) const {
  return worker::encode_head(*model_->tokenizer, render(model_->prompt, kind_, document, ""));
}

std::int64_t JobRequests::room_for_answer() const {
  return std::clamp<std::int64_t>(options_.max_tokens, 1, std::max<std::int64_t>(longest_ / kAnswerShare, 1));
}

std::int64_t JobRequests::head_limit() const {
  return longest_ - longest_tail_ - room_for_answer();
}

std::int64_t JobRequests::max_tokens(std::int64_t head) const {
  if (parts_.size() > 1) return room_for_answer();  // or summaries of summaries would not get shorter
  return fits_itself_ ? std::min<std::int64_t>(options_.max_tokens, longest_ - longest_tail_ - head)
                      : options_.max_tokens;
}

Status JobRequests::read(const schema::JobSpec& spec, std::vector<TokenId> head) {
  const std::int64_t tokens = std::ssize(head);
  const schema::Overflow overflow = spec.overflow.value_or(schema::Overflow::kError);
  fits_itself_ = overflow != schema::Overflow::kError;
  if (!fits_itself_ || tokens <= head_limit()) {
    add_part(std::move(head));
    return ok_status();
  }
  head = {};
  if (overflow == schema::Overflow::kMapReduce) {
    Status split = read_in_parts(spec.document, tokens, head_limit() / kOverlapShare);
    document_parts_ = static_cast<std::uint32_t>(parts_.size());
    return split;
  }
  auto cut = without_middle(spec.document, {tokens, head_limit(), 0},
                            [&](std::string_view piece) { return encode_head(piece); });
  if (!cut) return cut.error();
  cut_tokens_ = static_cast<std::uint64_t>(std::max<std::int64_t>(tokens - std::ssize(*cut), 0));
  add_part(*std::move(cut));
  return ok_status();
}

Status JobRequests::read_in_parts(std::string_view document, std::int64_t tokens, std::int64_t overlap) {
  auto windows = windows_of(document, {tokens, head_limit(), overlap},
                            [&](std::string_view piece) { return encode_head(piece); });
  if (!windows) return windows.error();
  for (Window& window : *windows) add_part(std::move(window.ids));
  return ok_status();
}

void JobRequests::add_part(std::vector<TokenId> head) {
  parts_.push_back({std::move(head), AnswerTexts(*model_, kind_, tails_.size(), answer_position_)});
  open_ += tails_.size();
}

Result<std::optional<EngineRequest>> JobRequests::next(RequestId id) {
  if (done_) return std::optional<EngineRequest>();
  if (open_ == 0) {
    // All parts are summarized: what they say is the document now.
    const std::size_t before = parts_.size();
    const std::string document = summaries();
    auto head = encode_head(document);
    if (!head) return head.error();
    parts_.clear();
    given_ = 0;
    if (std::ssize(*head) <= head_limit()) {
      add_part(*std::move(head));
    } else {
      const Status split = read_in_parts(document, std::ssize(*head), 0);
      if (!split) return split.error();
    }
    if (parts_.size() >= before) {
      return Error{
          ErrorCode::kInvalidArgument,
          fmt::format("the summaries of {} parts are no shorter than what they summarize, for {} tokens of "
                      "context or cache: lower max_tokens, or use overflow 'truncate'",
                      before, longest_)};
    }
  }
  if (given_ == parts_.size()) return std::optional<EngineRequest>();
  Part& part = parts_[given_++];
  part.id = id;
  EngineRequest request;
  request.id = id;
  request.head = std::move(part.head);
  request.tails = tails_;
  request.ends = ids_of(model_->ends);
  request.max_tokens = max_tokens(std::ssize(request.head));
  request.temperature = static_cast<float>(options_.temperature);
  request.top_p = static_cast<float>(options_.top_p);
  request.seed = options_.seed;
  request.likelihoods = kind_ == schema::Task::kQa && parts_.size() > 1;
  return std::optional(std::move(request));
}

std::int64_t JobRequests::tokens_to_come() const {
  std::int64_t tails = 0, tokens = 0;
  for (const auto& tail : tails_) tails += std::ssize(tail);
  for (std::size_t i = given_; i < parts_.size(); ++i) tokens += std::ssize(parts_[i].head) + tails;
  return tokens;
}

std::size_t JobRequests::place_of(RequestId id) const {
  return static_cast<std::size_t>(std::ranges::find(parts_, id, &Part::id) - parts_.begin());
}

bool JobRequests::add_token(RequestId id, int tail, std::int32_t token) {
  return parts_[place_of(id)].answers.add_token(tail, token);
}

void JobRequests::end_answer(RequestId id, int tail, AnswerEnd end, double mean_log_p) {
  parts_[place_of(id)].answers.end(tail, end, mean_log_p);
  if (--open_ == 0) conclude();
}

void JobRequests::conclude() {
  if (kind_ == schema::Task::kQa) {
    choose_likeliest();
  } else if (parts_.size() == 1 || summaries().empty()) {
    outputs_ = {parts_.front().answers.output(0)};
  } else {
    return;  // the summaries are to be summarized
  }
  done_ = true;
}

void JobRequests::choose_likeliest() {
  for (std::size_t tail = 0; tail < tails_.size(); ++tail) {
    // An answer without a word is worth less than any other.
    const auto worth = [&](const Part& part) {
      return std::pair(!part.answers.output(tail).text.empty(), part.answers.mean_log_p(tail));
    };
    const auto best = std::ranges::max_element(parts_, {}, worth);
    schema::Output& output = outputs_.emplace_back(best->answers.output(tail));
    if (parts_.size() > 1) output.part = static_cast<std::uint32_t>(best - parts_.begin()) + 1;
  }
}

std::string JobRequests::summaries() const {
  std::string text;
  for (const Part& part : parts_) {
    const std::string& summary = part.answers.output(0).text;
    if (!summary.empty()) text += (text.empty() ? "" : "\n\n") + summary;
  }
  return text;
}

}  // namespace dslad::worker
