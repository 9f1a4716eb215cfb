// What sequences keep between steps, within one memory budget: KV pages for each attention layer, a slot for
// each DSLA layer (plan.h). Pages are all of one size; a slot takes as many as its plan says.
//
// All a sequence will ever need is taken when it is admitted, so a running sequence never runs out of memory
// and nothing is ever preempted. The pool knows no plan of its own: sequences of any plans and editions of a
// chain lie in it side by side. Snapshots of sequences stay where nobody needs the memory: it counts as free.
// Thread safety: one user at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"
#include "worker/engine/block_arena.h"
#include "worker/engine/plan.h"

namespace dslad::worker {

class CachePool;

using LayerPages = std::vector<std::vector<std::int32_t>>;  // attention: its pages; DSLA: its slot's run

// The caches of one sequence under one plan; returns its pages when destroyed.
class SequenceCache {
 public:
  SequenceCache() = default;
  SequenceCache(SequenceCache&& other) noexcept;
  SequenceCache& operator=(SequenceCache&& other) noexcept;
  ~SequenceCache();

  [[nodiscard]] const Plan& plan() const { return *plan_; }
  [[nodiscard]] std::int64_t capacity() const { return capacity_; }  // tokens
  // Pages of an attention layer in token order; REQUIRES: the plan leaves the layer as attention.
  [[nodiscard]] const std::int32_t* pages(int layer) const {
    return layers_[static_cast<std::size_t>(layer)].data();
  }
  // State of a DSLA layer, [states, n_kv, d_k, d_v]; REQUIRES: the plan converts the layer.
  [[nodiscard]] float* state(int layer) const;
  // Its ring (window_attention.h); REQUIRES: the plan converts the layer, which has a window.
  [[nodiscard]] float* ring(int layer) const;

 private:
  friend class CachePool;
  void release();

  CachePool* pool_ = nullptr;
  std::shared_ptr<const Plan> plan_;
  std::int64_t capacity_ = 0;
  LayerPages layers_;
};

// What a sequence had of its first tokens, for others that begin with the same; its pages are given back when
// it is destroyed. It does not keep its plan, and is of no use without it.
class CacheSnapshot {
 public:
  CacheSnapshot(const CacheSnapshot&) = delete;
  CacheSnapshot& operator=(const CacheSnapshot&) = delete;
  ~CacheSnapshot();

  [[nodiscard]] std::shared_ptr<const Plan> plan() const { return plan_.lock(); }  // null: it is gone
  [[nodiscard]] std::int64_t pages() const;  // shared with sequences or not

 private:
  friend class CachePool;
  CacheSnapshot(CachePool& pool, std::weak_ptr<const Plan> plan, LayerPages layers);

  CachePool& pool_;
  std::weak_ptr<const Plan> plan_;
  LayerPages layers_;
};

class CachePool {
 public:
  // The pool may hand out at most `budget_bytes`; kResourceExhausted when the device cannot provide them.
  // REQUIRES: the backend outlives the pool.
  static Result<std::unique_ptr<CachePool>> create(kernels::Backend& backend, const kernels::KvLayout& kv,
                                                   std::size_t budget_bytes);

  // Pages that a sequence of `tokens` tokens needs under `plan`.
  [[nodiscard]] std::int64_t pages_needed(const Plan& plan, std::int64_t tokens) const;
  // Pages that fork() takes for a child of `tokens` tokens whose first `prefix_tokens` are the prefix's.
  [[nodiscard]] std::int64_t pages_to_fork(const Plan& plan, std::int64_t prefix_tokens,
                                           std::int64_t tokens) const;

  // Room for `tokens` tokens, DSLA states zeroed; nothing when it does not fit now. REQUIRES: the plan's
  // pages are of the pool's layout.
  std::optional<SequenceCache> allocate(std::shared_ptr<const Plan> plan, std::int64_t tokens);

  // A sequence that continues the first `prefix_tokens` tokens of `prefix` up to `tokens`: whole pages are
  // shared, the last partial page, the states and the rings are copied. Nothing when it does not fit now.
  std::optional<SequenceCache> fork(const SequenceCache& prefix, std::int64_t prefix_tokens,
                                    std::int64_t tokens);

  // Makes `child`, which came from fork() with the same arguments, a fresh continuation again.
  void refork(const SequenceCache& prefix, std::int64_t prefix_tokens, SequenceCache& child);

  // Of the first `tokens` tokens that the sequence has taken in, which are whole pages, and all where its
  // plan has states; pages are shared, states and rings copied. Null when that does not fit now.
  std::shared_ptr<const CacheSnapshot> snapshot(const SequenceCache& sequence, std::int64_t tokens);
  // As fork(), of a snapshot's first `prefix_tokens` tokens. REQUIRES: they are all of its tokens, or whole
  // pages of a plan without states; `plan` is the snapshot's.
  std::optional<SequenceCache> resume(const CacheSnapshot& prefix, std::shared_ptr<const Plan> plan,
                                      std::int64_t prefix_tokens, std::int64_t tokens);
  // Gives a sequence that begins with the same tokens what resume() would, in the memory that it has.
  void adopt(const CacheSnapshot& prefix, std::int64_t prefix_tokens, SequenceCache& sequence);
  // Where memory comes from once nothing but snapshots has any: destroys one with spare pages; false when
  // there is none. Called by what takes memory.
  void reclaim_with(std::function<bool()> reclaim) { reclaim_ = std::move(reclaim); }
  // Pages of the snapshot that no sequence uses.
  [[nodiscard]] std::int64_t spare_pages(const CacheSnapshot& snapshot) const;

  [[nodiscard]] const kernels::Device& device() const { return backend_.device(); }
  [[nodiscard]] const kernels::KvLayout& kv() const { return kv_; }
  [[nodiscard]] void* base() const { return memory_.get(); }
  [[nodiscard]] std::size_t page_bytes() const { return kv_.page_bytes(); }
  [[nodiscard]] std::int64_t total_pages() const { return arena_.size(); }
  // Those that only snapshots have included.
  [[nodiscard]] std::uint64_t changes() const { return arena_.changes(); }  // BlockArena's
  [[nodiscard]] std::int64_t free_pages() const { return arena_.free_pages() + arena_.spare_pages(); }
  // By sequences.
  [[nodiscard]] std::size_t kv_bytes_used() const;
  [[nodiscard]] std::size_t state_bytes_used() const;  // rings included

 private:
  friend class SequenceCache;
  friend class CacheSnapshot;
  CachePool(kernels::Backend& backend, kernels::Device::Buffer memory, const kernels::KvLayout& kv,
            std::int32_t pages);
  [[nodiscard]] std::byte* page(std::int32_t number) const;
  bool take(SequenceCache& cache, int layer, std::int64_t pages);
  std::optional<SequenceCache> continued(const LayerPages& prefix, std::shared_ptr<const Plan> plan,
                                         std::int64_t prefix_tokens, std::int64_t tokens);
  void copy_own(const LayerPages& prefix, std::int64_t prefix_tokens, SequenceCache& child);

  kernels::Backend& backend_;
  kernels::Device::Buffer memory_;
  kernels::KvLayout kv_;
  BlockArena arena_;
  std::int64_t slot_pages_in_use_ = 0;
  std::function<bool()> reclaim_ = [] { return false; };
};

}  // namespace dslad::worker
