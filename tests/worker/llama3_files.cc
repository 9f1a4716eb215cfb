#include "tests/worker/llama3_files.h"

#include <fstream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dslad::worker::testing {
namespace {

using nlohmann::json;
using Ranks = std::unordered_map<std::string, int>;

constexpr const char* kPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)"
    R"(|\s+(?!\S)|\s+)";

std::string from_base64(std::string_view text) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  unsigned bits = 0;
  int count = 0;
  for (const char digit : text.substr(0, text.find('='))) {
    bits = (bits << 6) | static_cast<unsigned>(kDigits.find(digit));
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>(bits >> count);
    }
  }
  return bytes;
}

// One character of the byte-level alphabet.
std::string written(unsigned char byte) {
  const bool itself = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
  unsigned character = byte;
  if (byte <= 0x20) character = 0x100u + byte;
  if (byte >= 0x7F && byte <= 0xA0) character = 0x121u + byte - 0x7F;
  if (byte == 0xAD) character = 0x143;
  if (itself && byte < 0x80) return {static_cast<char>(byte)};
  return {static_cast<char>(0xC0 | (character >> 6)), static_cast<char>(0x80 | (character & 0x3F))};
}

std::string written(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += written(static_cast<unsigned char>(byte));
  return text;
}

// The two parts that `token` is made of.
std::vector<std::string> parts_of(const std::string& token, int rank, const Ranks& ranks) {
  std::vector<std::string> parts;
  for (const char byte : token) parts.emplace_back(1, byte);
  while (parts.size() > 2) {
    std::size_t best = parts.size();
    int lowest = rank;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find(parts[i] + parts[i + 1]);
      if (found != ranks.end() && found->second < lowest) {
        lowest = found->second;
        best = i;
      }
    }
    if (best == parts.size()) break;  // not made by merging: found as a whole word only
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  return parts;
}

}  // namespace

json llama3_tokenizer_json(const std::filesystem::path& path) {
  Ranks ranks;
  std::vector<std::string> tokens;
  std::ifstream file(path);
  int rank = 0;
  for (std::string token; file >> token >> rank;) {
    tokens.push_back(from_base64(token));
    ranks.emplace(tokens.back(), rank);
  }
  json vocabulary = json::object();
  json merges = json::array();
  for (const std::string& token : tokens) {
    vocabulary[written(token)] = ranks[token];
    const auto parts = parts_of(token, ranks[token], ranks);
    if (parts.size() == 2) merges.push_back({written(parts[0]), written(parts[1])});
  }
  const json split = {
      {"type", "Split"}, {"pattern", {{"Regex", kPattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  const json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return {{"model", {{"type", "BPE"}, {"ignore_merges", true}, {"vocab", vocabulary}, {"merges", merges}}},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}}}};
}

}  // namespace dslad::worker::testing
