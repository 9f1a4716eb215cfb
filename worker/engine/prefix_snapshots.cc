#include "worker/engine/prefix_snapshots.h"

#include <algorithm>

#include "kernels/rows.h"

namespace dslad::worker {
namespace {

constexpr std::int64_t kFewestPieces = 2;  // of a snapshot: one is read in no time

static_assert(kernels::kPieceRows % kernels::kPageTokens == 0, "a snapshot has whole pages");

}  // namespace

PrefixSnapshots::PrefixSnapshots(CachePool& caches) : caches_(caches), piece_(caches.device().piece_rows()) {
  caches_.reclaim_with([this] { return drop_useless() || drop_one(); });
}

PrefixSnapshots::~PrefixSnapshots() {
  caches_.reclaim_with([] { return false; });
}

std::int64_t PrefixSnapshots::whole_pieces(std::int64_t tokens) const {
  return tokens / piece_ * piece_;
}

std::int64_t PrefixSnapshots::cut(std::int64_t head_tokens) const {
  const std::int64_t tokens = whole_pieces(head_tokens - 1);
  return tokens >= kFewestPieces * piece_ ? tokens : 0;
}

std::int64_t PrefixSnapshots::useful(const Plan& plan, std::span<const std::int32_t> tokens,
                                     std::span<const std::int32_t> head) const {
  const auto shared = std::ranges::mismatch(tokens, head.first(head.size() - 1)).in1 - tokens.begin();
  // States are those after the last token; keys and values are those of each.
  return shared == std::ssize(tokens) || plan.slots_pages() == 0 ? whole_pieces(shared) : 0;
}

PrefixSnapshots::Match PrefixSnapshots::find(const Plan& plan, std::span<const std::int32_t> head) const {
  Match best;
  for (const Entry& entry : entries_) {
    if (entry.snapshot->plan().get() != &plan) continue;
    const std::int64_t tokens = useful(plan, entry.tokens, head);
    if (tokens > best.tokens) best = {entry.snapshot, tokens};
  }
  return best;
}

void PrefixSnapshots::used(const CacheSnapshot& snapshot) {
  const auto entry =
      std::ranges::find_if(entries_, [&](const Entry& each) { return each.snapshot.get() == &snapshot; });
  if (entry == entries_.end()) return;
  entry->worth = worth(std::ssize(entry->tokens), snapshot);
  std::rotate(entry, entry + 1, entries_.end());
}

void PrefixSnapshots::keep(std::span<const std::int32_t> tokens, const SequenceCache& sequence) {
  drop_useless();
  const bool known = std::ranges::any_of(entries_, [&](const Entry& entry) {
    return entry.snapshot->plan().get() == &sequence.plan() && std::ranges::equal(entry.tokens, tokens);
  });
  if (known) return;
  auto snapshot = caches_.snapshot(sequence, std::ssize(tokens));
  if (snapshot == nullptr) return;
  const double its_worth = worth(std::ssize(tokens), *snapshot);
  entries_.push_back({{tokens.begin(), tokens.end()}, std::move(snapshot), its_worth});
}

double PrefixSnapshots::worth(std::int64_t tokens, const CacheSnapshot& snapshot) const {
  return age_ + static_cast<double>(tokens) / static_cast<double>(snapshot.pages());
}

// Of plans that nobody has any more.
bool PrefixSnapshots::drop_useless() {
  return std::erase_if(entries_, [](const Entry& entry) { return entry.snapshot->plan() == nullptr; }) > 0;
}

// That of least worth whose pages somebody could use.
bool PrefixSnapshots::drop_one() {
  auto least = entries_.end();
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    const bool held = entry->snapshot.use_count() > 1;
    if (held || caches_.spare_pages(*entry->snapshot) == 0) continue;
    if (least == entries_.end() || entry->worth < least->worth) least = entry;
  }
  if (least == entries_.end()) return false;
  age_ = least->worth;
  entries_.erase(least);
  return true;
}

}  // namespace dslad::worker
