// How likely given tokens are under plans, and how far the plans' distributions lie from plan 0's.
//
// All plans read a sequence side by side, a piece at a time, so that the memory for logits is bounded by a
// piece (kPieceRows rows for plan 0 and as many for another plan). Each plan holds a cache for the whole
// sequence; as many plans as fit the cache budget run together, the rest after them. Thread safety: one
// caller at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"
#include "worker/engine/cache_pool.h"
#include "worker/engine/forward.h"
#include "worker/engine/plan_set.h"
#include "worker/eval/distribution.h"

namespace dslad::worker {

// Sums over the tokens scored.
struct TokenSums {
  double nats = 0;  // -log p of each token
  double kl = 0;    // KL(plan 0 || plan) where each token is predicted
};

class TokenScorer {
 public:
  // Errors: those of CachePool::create. REQUIRES: `backend` outlives the scorer; `plans` are of the weights.
  static Result<std::unique_ptr<TokenScorer>> create(kernels::Backend& backend,
                                                     std::shared_ptr<const ModelWeights> weights,
                                                     PlanSet plans, std::size_t cache_bytes);

  // Scores ids[first..], each after all before it; the result is by plan. Errors: kResourceExhausted when
  // plan 0 and one other plan do not fit the cache budget; kInternal when the model's numbers are not finite.
  // REQUIRES: 1 <= first < ids.size() <= the model's context; ids are in the vocabulary; there are such
  // plans.
  Result<std::vector<TokenSums>> score(std::span<const std::int32_t> ids, std::size_t first,
                                       std::span<const int> plans);

 private:
  struct Reader;  // a plan on its way through a sequence
  TokenScorer(kernels::Backend& backend, std::shared_ptr<const ModelWeights> weights, PlanSet plans,
              std::unique_ptr<CachePool> caches);
  Status score_together(std::span<const std::int32_t> ids, std::size_t first, const SequenceCache& baseline,
                        std::span<Reader> readers);
  void add(Reader& reader, std::size_t row, std::int32_t token) const;
  Status run(const SequenceCache& cache, std::size_t context, std::span<const std::int32_t> piece,
             LogitRows rows);

  // Rows of what the last run gave. kUnavailable: the device has failed.
  Status read_logits(std::size_t rows, std::vector<float>& logits, std::vector<Distribution>& distributions);

  kernels::Backend& backend_;
  std::int64_t vocab_;
  PlanSet plans_;
  std::unique_ptr<CachePool> caches_;
  Forward forward_;
  std::vector<float> baseline_logits_, student_logits_;  // [rows of a piece, vocab], of plan 0 and another
  std::vector<Distribution> baseline_, student_;         // their rows
};

}  // namespace dslad::worker
