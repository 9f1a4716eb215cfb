// Byte pair encoding of one word: adjacent symbols, characters at first, are merged, the best pair first,
// until no pair is one that merges. A heap of candidates makes that n log n, so that a document without a
// single space is no slower per byte than prose. Immutable: safe from any thread.
//
// It knows characters alone. That a byte-level vocabulary writes each byte as a character of an alphabet, or
// another a space as U+2581, is for those who hand it words (PreTokenizer).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

// As a tokenizer file states it, every token as the file writes it.
struct BpeDefinition {
  std::vector<std::pair<std::string, TokenId>> vocabulary;  // each id once; of equal texts the last counts

  // Either pairs that merge, the first the best (tokenizer.json, merges.txt, most of GGUF); or a score for
  // each entry of the vocabulary (sentencepiece, as in GGUF's "llama"): then any two neighbours that make a
  // token merge, the token of the highest score first, the leftmost of equal ones.
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<float> scores;

  // What stands for a character without a token: with byte_fallback the tokens "<0x00>" to "<0xFF>" of its
  // bytes where all are there, else the unknown one, else nothing: it is left out.
  bool byte_fallback = false;
  std::optional<TokenId> unknown;
  bool fuse_unknown = false;  // several unknown characters in a row are one token

  bool ignore_merges = false;  // a word that is itself a token is not looked into
};

// The byte that a token like "<0x0A>" stands for.
std::optional<char> byte_of_name(std::string_view token);

class BpeModel {
 public:
  // Errors: kCorrupt for a merge whose parts or result are not in the vocabulary, or a wrong number of
  // scores.
  static Result<BpeModel> create(const BpeDefinition& definition);

  // Appends the ids of `word`. REQUIRES: well-formed UTF-8, less than 2 GiB.
  void encode(std::string_view word, std::vector<TokenId>& ids) const;

 private:
  struct Merge {
    std::int32_t rank;
    TokenId result;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  struct Symbol;  // bpe_model.cc
  class Word;

  // Characters below this, the whole byte-level alphabet among them, are found in a table.
  static constexpr std::size_t kTableSize = 0x180;

  Status add_merges(const BpeDefinition& definition);
  Status add_scores(const BpeDefinition& definition);
  void fill_character_tables(const BpeDefinition& definition);

  [[nodiscard]] TokenId find(std::string_view token) const;  // -1 when there is none
  [[nodiscard]] TokenId find_character(std::string_view character) const;
  [[nodiscard]] std::optional<Merge> find_merge(std::string_view word, const Symbol& left,
                                                const Symbol& right) const;
  void add_characters(std::string_view word, Word& symbols) const;
  void add_known_characters(std::string_view word, Word& symbols) const;
  [[nodiscard]] std::optional<std::vector<TokenId>> bytes_of_character(std::string_view character) const;

  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> ids_;
  std::unordered_map<std::uint64_t, Merge> merges_;        // by left id << 32 | right id
  std::unordered_map<TokenId, std::int32_t> score_ranks_;  // of tokens; equal scores, equal ranks
  bool by_score_ = false;
  std::array<TokenId, kTableSize> character_ids_{};  // by code point; -1: no token
  std::array<TokenId, 256> byte_ids_{};              // with byte_fallback, by byte; -1: no token
  std::optional<TokenId> unknown_;
  bool fuse_unknown_ = false, byte_fallback_ = false, ignore_merges_ = false;
};

}  // namespace dslad::worker
