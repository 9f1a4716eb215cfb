// Byte pair encoding of one word: adjacent symbols are merged, the pair of the lowest rank first, until no
// pair has one. A heap of candidates makes that n log n, so that a document without a single space is no
// slower per byte than prose. Immutable: safe from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "schema/result.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

// As a tokenizer file states it, with every token already as the bytes that it stands for.
struct BpeDefinition {
  std::vector<std::pair<std::string, TokenId>> vocabulary;  // each token and each id once
  std::vector<std::pair<std::string, std::string>> merges;  // the index is the rank
  std::optional<TokenId> unknown;                           // for a byte that has no token
  bool ignore_merges = false;  // a word that is itself a token is not looked into
};

class BpeModel {
 public:
  // Errors: kCorrupt for a merge whose parts or result are not in the vocabulary.
  static Result<BpeModel> create(const BpeDefinition& definition);

  // Appends the ids of `word`. Errors: kInvalidArgument for a byte without a token.
  Status encode(std::string_view word, std::vector<TokenId>& ids) const;

 private:
  struct Merge {
    std::int32_t rank;
    TokenId result;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  class Word;  // bpe_model.cc

  [[nodiscard]] TokenId find(std::string_view token) const;  // -1 when there is none
  [[nodiscard]] const Merge* find_merge(TokenId left, TokenId right) const;

  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> ids_;
  std::unordered_map<std::uint64_t, Merge> merges_;  // by left id << 32 | right id
  std::array<TokenId, 256> byte_ids_{};              // -1: no token
  bool ignore_merges_ = false;
};

}  // namespace dslad::worker
