#include "worker/eval/rouge.h"

#include <algorithm>
#include <vector>

#include "worker/eval/characters.h"
#include "worker/eval/word_overlap.h"

namespace dslad::worker {
namespace {

Words words_of(std::string_view text) {
  Words words;
  bool inside = false;
  for (const char32_t character : characters_of(text)) {
    const char32_t c = lower(character);
    const bool counts = (c >= U'a' && c <= U'z') || (c >= U'0' && c <= U'9');
    if (counts && !inside) words.emplace_back();
    if (counts) words.back() += static_cast<char>(c);
    inside = counts;
  }
  return words;
}

// Neighbours, written as one word; words hold no spaces.
Words pairs_of(const Words& words) {
  Words pairs;
  for (std::size_t i = 1; i < words.size(); ++i) pairs.push_back(words[i - 1] + ' ' + words[i]);
  return pairs;
}

std::size_t longest_common_subsequence(const Words& a, const Words& b) {
  std::vector<std::size_t> row(b.size() + 1);  // lengths for the words of a so far and each prefix of b
  for (const std::string& word : a) {
    std::size_t diagonal = 0;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = word == b[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
    }
  }
  return row.back();
}

double rouge_n(const Words& found, const Words& expected) {
  return overlap_f1(shared_words(found, expected), found.size(), expected.size());
}

}  // namespace

RougeScore rouge_score(std::string_view summary, std::span<const std::string> references) {
  const Words found = words_of(summary), found_pairs = pairs_of(found);
  RougeScore best;
  for (const std::string& reference : references) {
    const Words expected = words_of(reference);
    best.rouge1 = std::max(best.rouge1, rouge_n(found, expected));
    best.rouge2 = std::max(best.rouge2, rouge_n(found_pairs, pairs_of(expected)));
    best.rouge_l = std::max(
        best.rouge_l, overlap_f1(longest_common_subsequence(found, expected), found.size(), expected.size()));
  }
  return best;
}

}  // namespace dslad::worker
