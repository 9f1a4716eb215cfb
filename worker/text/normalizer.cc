#include "worker/text/normalizer.h"

#include <fmt/format.h>
#include <type_traits>
#include <utility>

#include "worker/text/code_points.h"
#include "worker/text/unicode_text.h"

namespace dslad::worker {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 30;

Result<std::string> replace(std::string_view text, const Regex& pattern, const std::string& replacement) {
  std::vector<TextRange> matches;
  Regex::Search search(pattern);
  const Status found = search.find_all(text, matches);
  if (!found) return found.error();
  if (text.size() + matches.size() * replacement.size() > kMostBytes) {
    return Error{ErrorCode::kResourceExhausted,
                 "the tokenizer's normalizer makes more than 1 GiB of the text; hand in a shorter one"};
  }
  std::string result;
  result.reserve(text.size());
  std::size_t rest = 0;
  for (const TextRange& match : matches) {
    result.append(text.substr(rest, match.begin - rest)).append(replacement);
    rest = match.end;
  }
  return result.append(text.substr(rest));
}

std::string strip(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const CodePoint first = code_point_at(text, 0);
    if (!is_white_space(first.value)) break;
    text.remove_prefix(first.length);
  }
  while (right && !text.empty()) {
    const CodePoint last = code_point_before(text, text.size());
    if (!is_white_space(last.value)) break;
    text.remove_suffix(last.length);
  }
  return std::string(text);
}

}  // namespace

Result<Normalizer> Normalizer::create(const std::vector<NormalizerStep>& steps) {
  Normalizer normalizer;
  for (const NormalizerStep& step : steps) {
    if (const auto* const replacing = std::get_if<ReplaceStep>(&step)) {
      auto pattern =
          replacing->is_regex ? Regex::compile(replacing->pattern) : Regex::literal(replacing->pattern);
      if (!pattern) return pattern.error().with_context("normalizer: Replace");
      normalizer.steps_.emplace_back(Replacing{*std::move(pattern), replacing->replacement});
    } else {
      std::visit(
          [&](const auto& other) {
            if constexpr (!std::is_same_v<std::decay_t<decltype(other)>, ReplaceStep>) {
              normalizer.steps_.emplace_back(other);
            }
          },
          step);
    }
  }
  return normalizer;
}

Result<std::string> Normalizer::apply(std::string_view text, TextPlace place) const {
  const bool beginning = place != TextPlace::kContinues;
  std::string result(text);
  for (const Step& step : steps_) {
    if (const auto* const form = std::get_if<NormalizationForm>(&step)) {
      result = to_form(result, *form);
    } else if (const auto* const prepend = std::get_if<PrependStep>(&step)) {
      if (beginning && !result.empty()) result.insert(0, prepend->text);
    } else if (const auto* const replacing = std::get_if<Replacing>(&step)) {
      auto replaced = replace(result, replacing->pattern, replacing->replacement);
      if (!replaced) return replaced;
      result = *std::move(replaced);
    } else if (const auto* const stripping = std::get_if<StripStep>(&step)) {
      result = strip(result, stripping->left && beginning, stripping->right);
    } else {
      result = to_lower_case(result);
    }
  }
  return result;
}

}  // namespace dslad::worker
