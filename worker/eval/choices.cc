#include "worker/eval/choices.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

#include "worker/eval/encoding.h"

namespace dslad::worker {
namespace {

// A text to score and the text before it.
struct Continuation {
  std::string context, scored;
};

bool in_word(const std::string& text, std::size_t at) {
  return at < text.size() && (text[at] == '_' || std::isalnum(static_cast<unsigned char>(text[at])) != 0);
}

Continuation continuation_of(const std::string& question, const std::string& choice) {
  for (std::size_t at = question.find('_'); at != std::string::npos; at = question.find('_', at + 1)) {
    const bool alone = !(at > 0 && in_word(question, at - 1)) && !in_word(question, at + 1);
    const std::string rest = question.substr(at + 1);
    if (alone && !rest.empty()) return {question.substr(0, at) + choice, rest};
  }
  return {question, " " + choice};
}

struct Encoded {
  std::vector<TokenId> ids;
  std::size_t first;  // of the tokens to score
  double bytes;       // of their text
};

Result<Encoded> encode(const ModelFolder& model, const Continuation& text) {
  auto ids = encode_beginning(model, text.context);
  if (!ids) return ids.error();
  const auto scored = encode_continuation(model, text.scored);
  if (!scored) return scored.error();
  const std::size_t first = std::max<std::size_t>(ids->size(), 1);
  ids->insert(ids->end(), scored->begin(), scored->end());
  return Encoded{*std::move(ids), first, static_cast<double>(text.scored.size())};
}

// The choice that is likeliest, by plan; nothing when the context does not hold one of them.
Result<std::optional<std::vector<std::size_t>>> likeliest_choices(const ModelFolder& model,
                                                                  TokenScorer& scorer, const EvalChoice& item,
                                                                  std::span<const int> plans) {
  const auto context = static_cast<std::size_t>(model.weights->config.context);
  std::vector<std::size_t> likeliest(plans.size());
  std::vector<double> lowest(plans.size());  // nats a byte, of that choice
  for (std::size_t choice = 0; choice < item.choices.size(); ++choice) {
    const auto text = encode(model, continuation_of(item.question, item.choices[choice]));
    if (!text) return text.error();
    if (text->ids.size() > context || text->ids.size() <= text->first) {
      return std::optional<std::vector<std::size_t>>();
    }
    const auto sums = scorer.score(text->ids, text->first, plans);
    if (!sums) return sums.error();
    for (std::size_t plan = 0; plan < plans.size(); ++plan) {
      const double nats = (*sums)[plan].nats / text->bytes;
      if (choice > 0 && nats >= lowest[plan]) continue;
      lowest[plan] = nats;
      likeliest[plan] = choice;
    }
  }
  return std::optional(std::move(likeliest));
}

// False when the item is skipped.
Result<bool> score_item(const ModelFolder& model, TokenScorer& scorer, const EvalChoice& item,
                        const ItemKey& key, std::span<const int> plans, ResultsLog& log) {
  const auto likeliest = likeliest_choices(model, scorer, item, plans);
  if (!likeliest) return likeliest.error().with_context(fmt::format("{}: {}", key.file, key.id));
  if (!*likeliest) return false;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    ScoreRecord record;
    record.key = {key, plans[i]};
    record.kind = item.kind;
    record.scores = {{"accuracy", (**likeliest)[i] == item.answer ? 1.0 : 0.0}};
    const Status appended = log.append(std::move(record));
    if (!appended) return appended.error();
  }
  return true;
}

}  // namespace

Result<EvaluatedFile> score_choices(const ModelFolder& model, TokenScorer& scorer, const EvalData& data,
                                    const EvalSettings& settings, ResultsLog& log) {
  const std::int64_t count = std::min(std::ssize(data.choices), settings.limit);
  const std::int64_t plans_an_item = std::ssize(settings.plans);
  EvaluatedFile evaluated;
  for (std::int64_t i = 0; i < count; ++i) {
    settings.progress(i * plans_an_item, count * plans_an_item);
    const EvalChoice& item = data.choices[static_cast<std::size_t>(i)];
    const ItemKey key{data.file, item.id, 0};
    const std::vector<int> plans = log.plans_without(key, settings.plans);
    const Result<bool> scored = plans.empty() ? true : score_item(model, scorer, item, key, plans, log);
    if (!scored) return scored.error();
    if (*scored) evaluated.items.push_back(key);
    if (!*scored) ++evaluated.skipped;
  }
  settings.progress(count * plans_an_item, count * plans_an_item);
  return evaluated;
}

}  // namespace dslad::worker
