// Beginnings of prompts that were read, so that a later prompt with the same beginning is read from there on.
//
// A snapshot is taken where a piece of a prompt ends: a prompt that continues it is cut as if it had been
// read from its own beginning, and so gives the same numbers. It serves requests of its plan, the object,
// alone, and does not keep that plan alive: nobody need say that a chain was replaced. Its memory counts as
// free, and what is worth least is given up first: prompt tokens saved for a page, and by and by what is not
// used (GreedyDual-Size, Cao and Irani 1997). Thread safety: one user at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "worker/engine/cache_pool.h"

namespace dslad::worker {

class PrefixSnapshots {
 public:
  // Gives the pool its memory back when it is asked. `caches` outlives it.
  explicit PrefixSnapshots(CachePool& caches);
  PrefixSnapshots(const PrefixSnapshots&) = delete;
  PrefixSnapshots& operator=(const PrefixSnapshots&) = delete;
  ~PrefixSnapshots();

  // The tokens of a head after which its snapshot is taken; 0: it is too short for one. At least one token of
  // the head is left to read.
  [[nodiscard]] std::int64_t cut(std::int64_t head_tokens) const;
  // How many tokens of a snapshot of `tokens` under `plan` a request with this head could use.
  [[nodiscard]] std::int64_t useful(const Plan& plan, std::span<const std::int32_t> tokens,
                                    std::span<const std::int32_t> head) const;

  // A snapshot and how much of it is of use; null and 0: there is none. It stays while it is held.
  struct Match {
    std::shared_ptr<const CacheSnapshot> snapshot;
    std::int64_t tokens = 0;
  };
  // With most of the tokens that `head` begins with, the last not among them.
  [[nodiscard]] Match find(const Plan& plan, std::span<const std::int32_t> head) const;
  // Somebody began with it.
  void used(const CacheSnapshot& snapshot);

  // Takes a snapshot of a sequence that has taken in `tokens`, and no more where its plan has states, unless
  // there is one. REQUIRES: their number is cut() of something.
  void keep(std::span<const std::int32_t> tokens, const SequenceCache& sequence);

 private:
  struct Entry {
    std::vector<std::int32_t> tokens;
    std::shared_ptr<const CacheSnapshot> snapshot;
    double worth;
  };
  [[nodiscard]] std::int64_t whole_pieces(std::int64_t tokens) const;
  [[nodiscard]] double worth(std::int64_t tokens, const CacheSnapshot& snapshot) const;
  bool drop_useless();
  bool drop_one();

  CachePool& caches_;
  std::int64_t piece_;          // tokens
  std::vector<Entry> entries_;  // the latest used last
  double age_ = 0;              // the worth of what was given up last
};

}  // namespace dslad::worker
