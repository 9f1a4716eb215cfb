#include "daemon/store/agreement.h"

#include <algorithm>
#include <map>
#include <string>

namespace dslad::daemon {
namespace {

bool is_word_byte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Number of each word.
std::map<std::string, int> words_of(std::string_view text) {
  std::map<std::string, int> words;
  std::string word;
  for (const char c : text) {
    if (is_word_byte(c)) {
      word += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    } else if (!word.empty()) {
      ++words[word];
      word.clear();
    }
  }
  if (!word.empty()) ++words[word];
  return words;
}

}  // namespace

double agreement(std::string_view a, std::string_view b) {
  const std::map<std::string, int> left = words_of(a), right = words_of(b);
  int shared = 0, total = 0;
  for (const auto& [word, count] : left) {
    total += count;
    const auto found = right.find(word);
    if (found != right.end()) shared += std::min(count, found->second);
  }
  for (const auto& [word, count] : right) total += count;
  return total == 0 ? 1.0 : 2.0 * shared / total;
}

}  // namespace dslad::daemon
