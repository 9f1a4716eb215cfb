#include "worker/text/bpe_model.h"

#include <fmt/format.h>
#include <functional>
#include <optional>
#include <queue>

namespace dslad::worker {
namespace {

std::uint64_t pair_key(TokenId left, TokenId right) {
  return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) | static_cast<std::uint32_t>(right);
}

}  // namespace

// The symbols of one word while they are merged: a linked list in an array, in which a merged pair's right
// half is unlinked.
class BpeModel::Word {
 public:
  Word(const BpeModel& model, std::vector<TokenId> symbols) : model_(model) {
    const auto count = static_cast<std::int32_t>(symbols.size());
    symbols_.reserve(symbols.size());
    for (std::int32_t i = 0; i < count; ++i) {
      symbols_.push_back({symbols[static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : kNone});
    }
    for (std::int32_t i = 0; i + 1 < count; ++i) consider(i);
  }

  void merge_all() {
    while (!candidates_.empty()) {
      const Candidate candidate = candidates_.top();
      candidates_.pop();
      const Merge* const merge = merge_at(candidate.left);
      // Stale when one of the two was merged with something else meanwhile.
      if (merge == nullptr || merge->rank != candidate.rank) continue;
      apply(candidate.left, merge->result);
    }
  }

  void append_to(std::vector<TokenId>& ids) const {
    for (std::int32_t i = 0; i != kNone; i = at(i).next) ids.push_back(at(i).id);
  }

 private:
  static constexpr std::int32_t kNone = -1;
  struct Symbol {
    TokenId id;  // kNone once unlinked
    std::int32_t previous, next;
  };
  struct Candidate {
    std::int32_t rank, left;
    // The lowest rank first, the leftmost among equals.
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };

  Symbol& at(std::int32_t i) { return symbols_[static_cast<std::size_t>(i)]; }
  [[nodiscard]] const Symbol& at(std::int32_t i) const { return symbols_[static_cast<std::size_t>(i)]; }

  [[nodiscard]] const Merge* merge_at(std::int32_t left) const {
    if (at(left).id == kNone || at(left).next == kNone) return nullptr;
    return model_.find_merge(at(left).id, at(at(left).next).id);
  }

  void consider(std::int32_t left) {
    if (const Merge* const merge = merge_at(left)) candidates_.push({merge->rank, left});
  }

  void apply(std::int32_t left, TokenId result) {
    Symbol& right = at(at(left).next);
    at(left).id = result;
    at(left).next = right.next;
    right.id = kNone;
    if (right.next != kNone) at(right.next).previous = left;
    if (at(left).previous != kNone) consider(at(left).previous);
    consider(left);
  }

  const BpeModel& model_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates_;
};

Result<BpeModel> BpeModel::create(const BpeDefinition& definition) {
  BpeModel model;
  model.ignore_merges_ = definition.ignore_merges;
  model.ids_.reserve(definition.vocabulary.size());
  for (const auto& [token, id] : definition.vocabulary) model.ids_.emplace(token, id);
  for (std::size_t byte = 0; byte < model.byte_ids_.size(); ++byte) {
    const char text = static_cast<char>(byte);
    const TokenId id = model.find({&text, 1});
    model.byte_ids_[byte] = id < 0 ? definition.unknown.value_or(-1) : id;
  }
  model.merges_.reserve(definition.merges.size());
  for (std::size_t rank = 0; rank < definition.merges.size(); ++rank) {
    const auto& [left, right] = definition.merges[rank];
    const TokenId left_id = model.find(left);
    const TokenId right_id = model.find(right);
    const TokenId result = model.find(left + right);
    if (left_id < 0 || right_id < 0 || result < 0) {
      return Error{ErrorCode::kCorrupt,
                   fmt::format("merge {} joins or makes a token that the vocabulary lacks", rank)};
    }
    model.merges_.insert_or_assign(pair_key(left_id, right_id),
                                   Merge{static_cast<std::int32_t>(rank), result});
  }
  return model;
}

TokenId BpeModel::find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? -1 : found->second;
}

const BpeModel::Merge* BpeModel::find_merge(TokenId left, TokenId right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

Status BpeModel::encode(std::string_view word, std::vector<TokenId>& ids) const {
  if (ignore_merges_) {
    if (const TokenId whole = find(word); whole >= 0) {
      ids.push_back(whole);
      return ok_status();
    }
  }
  std::vector<TokenId> symbols;
  symbols.reserve(word.size());
  for (const char byte : word) {
    symbols.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
    if (symbols.back() < 0) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("the vocabulary has no token for the byte 0x{:02X} and none for the unknown",
                               static_cast<unsigned char>(byte))};
    }
  }
  Word merged(*this, std::move(symbols));
  merged.merge_all();
  merged.append_to(ids);
  return ok_status();
}

}  // namespace dslad::worker
