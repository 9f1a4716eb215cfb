#include "worker/eval/squad.h"

#include <algorithm>

#include "worker/eval/characters.h"
#include "worker/eval/word_overlap.h"

namespace dslad::worker {
namespace {

// Blanks out each "a", "an" and "the" without a word character on either side: \b(a|an|the)\b.
void blank_articles(std::u32string& text) {
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = begin;
    while (end < text.size() && is_word(text[end])) ++end;
    const auto word = std::u32string_view(text).substr(begin, end - begin);
    if (word == U"a" || word == U"an" || word == U"the") std::fill_n(&text[begin], word.size(), U' ');
    begin = std::max(end, begin + 1);
  }
}

Words normalized_words(std::string_view text) {
  std::u32string characters = characters_of(text);
  std::ranges::transform(characters, characters.begin(), lower);
  std::erase_if(characters, is_punctuation);
  blank_articles(characters);
  Words words;
  for (auto begin = characters.begin(); begin != characters.end();) {
    const auto end = std::find_if(begin, characters.end(), is_space);
    if (end != begin) words.push_back(text_of({begin, end}));
    begin = end == characters.end() ? end : end + 1;
  }
  return words;
}

SquadScore score_one(const Words& answer, const Words& reference) {
  const double same = answer == reference ? 1 : 0;
  if (answer.empty() || reference.empty()) return {same, same, same};
  const auto found = std::search(answer.begin(), answer.end(), reference.begin(), reference.end());
  return {same, overlap_f1(shared_words(answer, reference), answer.size(), reference.size()),
          found == answer.end() ? 0.0 : 1.0};
}

}  // namespace

std::string normalize_answer(std::string_view text) {
  std::string normalized;
  for (const std::string& word : normalized_words(text)) {
    if (!normalized.empty()) normalized += ' ';
    normalized += word;
  }
  return normalized;
}

SquadScore squad_score(std::string_view answer, std::span<const std::string> references) {
  const Words found = normalized_words(answer);
  SquadScore best;
  bool answerable = false;
  for (const std::string& reference : references) {
    const Words expected = normalized_words(reference);
    if (expected.empty()) continue;
    answerable = true;
    const SquadScore score = score_one(found, expected);
    best = {std::max(best.exact_match, score.exact_match), std::max(best.f1, score.f1),
            std::max(best.contains, score.contains)};
  }
  return answerable ? best : score_one(found, {});
}

}  // namespace dslad::worker
