#include "worker/eval/perplexity.h"

#include <algorithm>
#include <fmt/format.h>

#include "worker/eval/encoding.h"
#include "worker/eval/text_windows.h"

namespace dslad::worker {
namespace {

// A window of one of the texts.
struct Passage {
  std::vector<TokenId> ids;  // bos included, where prompts have one
  std::size_t first = 0;     // of them, that is scored
};

// The windows over `tokens` tokens of text.
Result<std::vector<TextWindow>> windows_of(const ModelFolder& model, const EvalSettings& settings,
                                           std::size_t tokens) {
  const std::int64_t context = model.weights->config.context;
  const std::int64_t window = settings.window > 0 ? settings.window : context;
  const std::int64_t stride = settings.stride > 0 ? settings.stride : std::max<std::int64_t>(1, window / 2);
  // A stride of a whole window would leave its first token without anything before it.
  if (window < 2 || window > context || stride > window - 1) {
    return Error{
        ErrorCode::kInvalidArgument,
        fmt::format("a window of {} tokens with a stride of {} is out of range: a window has 2 to {} "
                    "tokens, a stride fewer than its window",
                    window, stride, context)};
  }
  const std::int64_t bos = begins_with_bos(model) ? 1 : 0;
  return cut_windows(tokens, static_cast<std::size_t>(window - bos), static_cast<std::size_t>(stride));
}

// Adds the text's windows, as far as the limit of all goes. A text of which nothing can be scored has none.
Status cut(const ModelFolder& model, const EvalSettings& settings, std::string_view text,
           std::vector<Passage>& passages) {
  const auto ids = encode_beginning(model, text);
  if (!ids) return ids.error();
  if (ids->size() < 2) return ok_status();
  const std::size_t bos = begins_with_bos(model) ? 1 : 0;
  const auto tokens = std::span(*ids).subspan(bos);
  const auto windows = windows_of(model, settings, tokens.size());
  if (!windows) return windows.error();
  for (const TextWindow& window : *windows) {
    if (std::ssize(passages) >= settings.limit) break;
    Passage passage{{ids->begin(), ids->begin() + static_cast<std::ptrdiff_t>(bos)},
                    std::max<std::size_t>(1, bos + window.counted - window.begin)};
    const auto part = tokens.subspan(window.begin, window.end - window.begin);
    passage.ids.insert(passage.ids.end(), part.begin(), part.end());
    passages.push_back(std::move(passage));
  }
  return ok_status();
}

Status score_window(TokenScorer& scorer, std::span<const TokenId> ids, std::size_t first, const ItemKey& item,
                    std::span<const int> plans, ResultsLog& log) {
  const auto sums = scorer.score(ids, first, plans);
  if (!sums) return sums.error().with_context(item.file);
  const auto scored = static_cast<double>(ids.size() - first);
  for (std::size_t i = 0; i < plans.size(); ++i) {
    ScoreRecord record;
    record.key = {item, plans[i]};
    record.tokens = std::ssize(ids);
    record.weight = scored;
    record.scores = {{"nats", (*sums)[i].nats / scored}, {"kl", (*sums)[i].kl / scored}};
    Status appended = log.append(std::move(record));
    if (!appended) return appended;
  }
  return ok_status();
}

}  // namespace

Result<EvaluatedFile> score_text(const ModelFolder& model, TokenScorer& scorer, const EvalData& data,
                                 const EvalSettings& settings, ResultsLog& log) {
  std::vector<Passage> passages;
  for (const std::string& text : data.texts) {
    const Status done = cut(model, settings, text, passages);
    if (!done) return done.error().with_context(data.file);
  }
  if (passages.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 data.file + ": the text is too short: no token has one before it"};
  }
  const std::int64_t plans_a_window = std::ssize(settings.plans);
  EvaluatedFile evaluated;
  for (const Passage& passage : passages) {
    const std::int64_t index = std::ssize(evaluated.items);
    settings.progress(index * plans_a_window, std::ssize(passages) * plans_a_window);
    evaluated.items.push_back({data.file, "", static_cast<int>(index)});
    const std::vector<int> plans = log.plans_without(evaluated.items.back(), settings.plans);
    if (plans.empty()) continue;
    const Status scored =
        score_window(scorer, passage.ids, passage.first, evaluated.items.back(), plans, log);
    if (!scored) return scored.error();
  }
  settings.progress(std::ssize(passages) * plans_a_window, std::ssize(passages) * plans_a_window);
  return evaluated;
}

}  // namespace dslad::worker
