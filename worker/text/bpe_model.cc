#include "worker/text/bpe_model.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <queue>

#include "worker/text/code_points.h"

namespace dslad::worker {
namespace {

std::uint64_t pair_key(TokenId left, TokenId right) {
  return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) | static_cast<std::uint32_t>(right);
}

std::optional<unsigned> hexadecimal(char digit) {
  if (digit >= '0' && digit <= '9') return static_cast<unsigned>(digit - '0');
  if (digit >= 'A' && digit <= 'F') return static_cast<unsigned>(digit - 'A') + 10;
  return std::nullopt;
}

}  // namespace

std::optional<char> byte_of_name(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  const auto high = hexadecimal(token[3]);
  const auto low = hexadecimal(token[4]);
  if (!high || !low) return std::nullopt;
  return static_cast<char>(*high << 4 | *low);
}

// A part of a word. Bytes [begin, end) of it make the token `id`; where merging goes by scores they may make
// none yet (-1). A symbol that was merged into its left neighbour has no bytes.
struct BpeModel::Symbol {
  TokenId id;
  std::int32_t begin, end;
  std::int32_t previous, next;  // kNone at the ends

  [[nodiscard]] std::string_view text_in(std::string_view word) const {
    return word.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  }
};

// The symbols of one word while they are merged: a linked list in an array, in which a merged pair's right
// half is unlinked.
class BpeModel::Word {
 public:
  Word(const BpeModel& model, std::string_view text) : model_(model), text_(text) {}

  void add(TokenId id, std::size_t begin, std::size_t end) {
    const auto index = static_cast<std::int32_t>(symbols_.size());
    if (index > 0) symbols_.back().next = index;
    symbols_.push_back(
        {id, static_cast<std::int32_t>(begin), static_cast<std::int32_t>(end), index - 1, kNone});
  }

  void merge_all() {
    if (symbols_.empty()) return;
    for (std::int32_t i = 0; at(i).next != kNone; ++i) consider(i);
    while (!candidates_.empty()) {
      const Candidate candidate = candidates_.top();
      candidates_.pop();
      const auto merge = merge_at(candidate.left);
      // Stale when one of the two was merged with something else meanwhile.
      if (!merge || merge->rank != candidate.rank) continue;
      apply(candidate.left, merge->result);
    }
  }

  template <typename Visit>
  void for_each(Visit visit) const {
    if (symbols_.empty()) return;
    for (std::int32_t i = 0; i != kNone; i = at(i).next) visit(at(i));
  }

 private:
  static constexpr std::int32_t kNone = -1;
  struct Candidate {
    std::int32_t rank, left;
    // The lowest rank first, the leftmost among equals.
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };

  Symbol& at(std::int32_t i) { return symbols_[static_cast<std::size_t>(i)]; }
  [[nodiscard]] const Symbol& at(std::int32_t i) const { return symbols_[static_cast<std::size_t>(i)]; }

  [[nodiscard]] std::optional<Merge> merge_at(std::int32_t left) const {
    const Symbol& symbol = at(left);
    if (symbol.begin == symbol.end || symbol.next == kNone) return std::nullopt;
    return model_.find_merge(text_, symbol, at(symbol.next));
  }

  void consider(std::int32_t left) {
    if (const auto merge = merge_at(left)) candidates_.push({merge->rank, left});
  }

  void apply(std::int32_t left, TokenId result) {
    Symbol& right = at(at(left).next);
    at(left).id = result;
    at(left).end = right.end;
    at(left).next = right.next;
    right.begin = right.end;
    if (right.next != kNone) at(right.next).previous = left;
    if (at(left).previous != kNone) consider(at(left).previous);
    consider(left);
  }

  const BpeModel& model_;
  std::string_view text_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates_;
};

Result<BpeModel> BpeModel::create(const BpeDefinition& definition) {
  BpeModel model;
  model.unknown_ = definition.unknown;
  model.fuse_unknown_ = definition.fuse_unknown;
  model.byte_fallback_ = definition.byte_fallback;
  model.ignore_merges_ = definition.ignore_merges;
  model.by_score_ = !definition.scores.empty();
  model.ids_.reserve(definition.vocabulary.size());
  for (const auto& [token, id] : definition.vocabulary) {
    // Where any neighbours may merge, the text "<0x41>" must not become the byte that it names.
    if (model.by_score_ && model.byte_fallback_ && byte_of_name(token)) continue;
    model.ids_.insert_or_assign(token, id);
  }
  model.fill_character_tables(definition);
  const Status added = model.by_score_ ? model.add_scores(definition) : model.add_merges(definition);
  if (!added) return added.error();
  return model;
}

void BpeModel::fill_character_tables(const BpeDefinition& definition) {
  for (std::size_t i = 0; i < kTableSize; ++i) {
    std::string character;
    append_utf8(static_cast<char32_t>(i), character);
    character_ids_[i] = find(character);
  }
  byte_ids_.fill(-1);
  if (!byte_fallback_) return;
  for (const auto& [token, id] : definition.vocabulary) {
    if (const auto byte = byte_of_name(token)) byte_ids_[static_cast<unsigned char>(*byte)] = id;
  }
}

Status BpeModel::add_merges(const BpeDefinition& definition) {
  merges_.reserve(definition.merges.size());
  for (std::size_t rank = 0; rank < definition.merges.size(); ++rank) {
    const auto& [left, right] = definition.merges[rank];
    const TokenId left_id = find(left);
    const TokenId right_id = find(right);
    const TokenId result = find(left + right);
    if (left_id < 0 || right_id < 0 || result < 0) {
      return Error{
          ErrorCode::kCorrupt,
          fmt::format("merge {}, \"{}\" with \"{}\", joins or makes a token that the vocabulary lacks", rank,
                      left, right)};
    }
    merges_.insert_or_assign(pair_key(left_id, right_id), Merge{static_cast<std::int32_t>(rank), result});
  }
  return ok_status();
}

Status BpeModel::add_scores(const BpeDefinition& definition) {
  const std::vector<float>& scores = definition.scores;
  const bool ordered = std::ranges::none_of(scores, [](float score) { return std::isnan(score); });
  if (scores.size() != definition.vocabulary.size() || !ordered) {
    return Error{ErrorCode::kCorrupt, fmt::format("{} scores for {} tokens, or one that is no number",
                                                  scores.size(), definition.vocabulary.size())};
  }
  std::vector<float> sorted = scores;
  std::ranges::sort(sorted, std::greater<>());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto place = std::ranges::lower_bound(sorted, scores[i], std::greater<>());
    score_ranks_[definition.vocabulary[i].second] = static_cast<std::int32_t>(place - sorted.begin());
  }
  return ok_status();
}

TokenId BpeModel::find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? -1 : found->second;
}

TokenId BpeModel::find_character(std::string_view character) const {
  const char32_t value = code_point_at(character, 0).value;
  return value < kTableSize ? character_ids_[value] : find(character);
}

std::optional<BpeModel::Merge> BpeModel::find_merge(std::string_view word, const Symbol& left,
                                                    const Symbol& right) const {
  if (by_score_) {
    const auto begin = static_cast<std::size_t>(left.begin);
    const TokenId result = find(word.substr(begin, static_cast<std::size_t>(right.end) - begin));
    return result < 0 ? std::nullopt : std::optional(Merge{score_ranks_.at(result), result});
  }
  const auto found = merges_.find(pair_key(left.id, right.id));
  return found == merges_.end() ? std::nullopt : std::optional(found->second);
}

void BpeModel::encode(std::string_view word, std::vector<TokenId>& ids) const {
  if (ignore_merges_) {
    if (const TokenId whole = find(word); whole >= 0) return ids.push_back(whole);
  }
  Word symbols(*this, word);
  by_score_ ? add_characters(word, symbols) : add_known_characters(word, symbols);
  symbols.merge_all();
  bool after_unknown = false;
  symbols.for_each([&](const Symbol& symbol) {
    if (symbol.id >= 0) {
      ids.push_back(symbol.id);
    } else if (const auto bytes = bytes_of_character(symbol.text_in(word))) {
      ids.insert(ids.end(), bytes->begin(), bytes->end());
    } else if (unknown_ && !(fuse_unknown_ && after_unknown)) {
      ids.push_back(*unknown_);
    }
    after_unknown = symbol.id < 0;
  });
}

// Every character, with a token or without: neighbours may make one.
void BpeModel::add_characters(std::string_view word, Word& symbols) const {
  for (std::size_t at = 0, end = 0; at < word.size(); at = end) {
    end = at + character_length(word, at);
    symbols.add(find_character(word.substr(at, end - at)), at, end);
  }
}

// Pairs of tokens alone merge, so what stands for a character without one takes part. As in Hugging Face's
// BPE, down to an unknown character that comes after bytes which follow it, where bytes lack tokens.
void BpeModel::add_known_characters(std::string_view word, Word& symbols) const {
  std::size_t unknown_begin = 0, unknown_end = 0;  // unknown characters that were not added yet
  const auto end_unknown = [&] {
    if (unknown_end > unknown_begin) symbols.add(*unknown_, unknown_begin, unknown_end);
    unknown_begin = unknown_end;
  };
  for (std::size_t at = 0, end = 0; at < word.size(); at = end) {
    end = at + character_length(word, at);
    const TokenId id = find_character(word.substr(at, end - at));
    if (id >= 0) {
      end_unknown();
      symbols.add(id, at, end);
    } else if (const auto bytes = bytes_of_character(word.substr(at, end - at))) {
      for (const TokenId byte : *bytes) symbols.add(byte, at, end);
    } else if (unknown_) {
      if (!fuse_unknown_) end_unknown();
      if (unknown_end == unknown_begin) unknown_begin = at;
      unknown_end = end;
    }
  }
  end_unknown();
}

std::optional<std::vector<TokenId>> BpeModel::bytes_of_character(std::string_view character) const {
  if (!byte_fallback_) return std::nullopt;
  std::vector<TokenId> ids;
  for (const char byte : character) {
    ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
    if (ids.back() < 0) return std::nullopt;
  }
  return ids;
}

}  // namespace dslad::worker
