#include "worker/eval/word_overlap.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

namespace dslad::worker {

std::size_t shared_words(const Words& a, const Words& b) {
  std::unordered_map<std::string_view, std::size_t> left;
  for (const std::string& word : b) ++left[word];
  std::size_t shared = 0;
  for (const std::string& word : a) {
    const auto found = left.find(word);
    if (found == left.end() || found->second == 0) continue;
    --found->second;
    ++shared;
  }
  return shared;
}

double overlap_f1(std::size_t shared, std::size_t found, std::size_t expected) {
  if (shared == 0) return 0;
  const double precision = static_cast<double>(shared) / static_cast<double>(found);
  const double recall = static_cast<double>(shared) / static_cast<double>(expected);
  return 2 * precision * recall / (precision + recall);
}

}  // namespace dslad::worker
