#include "worker/engine/cache_pool.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <utility>

#include "worker/model/device.h"

namespace dslad::worker {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

SequenceCache::SequenceCache(SequenceCache&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      plan_(std::move(other.plan_)),
      capacity_(other.capacity_),
      layers_(std::move(other.layers_)) {}

SequenceCache& SequenceCache::operator=(SequenceCache&& other) noexcept {
  if (this == &other) return *this;
  release();
  pool_ = std::exchange(other.pool_, nullptr);
  plan_ = std::move(other.plan_);
  capacity_ = other.capacity_;
  layers_ = std::move(other.layers_);
  return *this;
}

SequenceCache::~SequenceCache() {
  release();
}

void SequenceCache::release() {
  if (pool_ == nullptr) return;
  for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer) {
    const auto& pages = layers_[static_cast<std::size_t>(layer)];
    for (const std::int32_t page : pages) pool_->arena_.release(page);
    if (plan_->dsla(layer) != nullptr) pool_->slot_pages_in_use_ -= std::ssize(pages);
  }
  layers_.clear();
  plan_.reset();
  pool_ = nullptr;
}

float* SequenceCache::state(int layer) const {
  return reinterpret_cast<float*>(pool_->page(layers_[static_cast<std::size_t>(layer)].front()));
}

float* SequenceCache::ring(int layer) const {
  return state(layer) + plan_->slot(layer).states.state_floats();
}

CacheSnapshot::CacheSnapshot(CachePool& pool, std::weak_ptr<const Plan> plan, LayerPages layers)
    : pool_(pool), plan_(std::move(plan)), layers_(std::move(layers)) {
  for (const auto& pages : layers_) {
    for (const std::int32_t page : pages) pool_.arena_.keep(page);
  }
}

CacheSnapshot::~CacheSnapshot() {
  for (const auto& pages : layers_) {
    for (const std::int32_t page : pages) pool_.arena_.forget(page);
  }
}

std::int64_t CacheSnapshot::pages() const {
  std::int64_t count = 0;
  for (const auto& pages : layers_) count += std::ssize(pages);
  return count;
}

Result<std::unique_ptr<CachePool>> CachePool::create(kernels::Backend& backend, const kernels::KvLayout& kv,
                                                     std::size_t budget_bytes) {
  const std::size_t pages = budget_bytes / kv.page_bytes();
  if (pages == 0 || pages > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    return Error{
        ErrorCode::kInvalidArgument,
        fmt::format("a cache of {} bytes holds {} pages of {} bytes; give it between 1 and 2^31 - 1 pages",
                    budget_bytes, pages, kv.page_bytes())};
  }
  auto memory = backend.device().allocate(pages * kv.page_bytes());
  if (!memory) {
    return no_memory(
        backend.device(),
        fmt::format("the device has no {} MiB for the caches; lower the cache budget", budget_bytes >> 20));
  }
  return std::unique_ptr<CachePool>(
      new CachePool(backend, std::move(memory), kv, static_cast<std::int32_t>(pages)));
}

CachePool::CachePool(kernels::Backend& backend, kernels::Device::Buffer memory, const kernels::KvLayout& kv,
                     std::int32_t pages)
    : backend_(backend), memory_(std::move(memory)), kv_(backend.kv_layout(kv)), arena_(pages) {}

std::byte* CachePool::page(std::int32_t number) const {
  return memory_.get() + static_cast<std::size_t>(number) * page_bytes();
}

std::int64_t CachePool::pages_needed(const Plan& plan, std::int64_t tokens) const {
  return plan.attention_layers() * divide_up(tokens, kernels::kPageTokens) + plan.slots_pages();
}

std::int64_t CachePool::pages_to_fork(const Plan& plan, std::int64_t prefix_tokens,
                                      std::int64_t tokens) const {
  return pages_needed(plan, tokens) - plan.attention_layers() * (prefix_tokens / kernels::kPageTokens);
}

// Gives `layer` of the cache `pages` more pages, or the run for its slot, at the cost of snapshots. False
// when memory ran out: the caller drops the cache, which returns what it has.
bool CachePool::take(SequenceCache& cache, int layer, std::int64_t pages) {
  const auto insist = [this](auto allocate) {
    std::optional<std::int32_t> got = allocate();
    while (!got && reclaim_()) got = allocate();
    return got;
  };
  auto& mine = cache.layers_[static_cast<std::size_t>(layer)];
  if (cache.plan_->dsla(layer) != nullptr) {
    const std::int32_t count = cache.plan_->slot_pages(layer);
    const auto first = insist([&] { return arena_.allocate_run(count); });
    if (!first) return false;
    for (std::int32_t i = 0; i < count; ++i) mine.push_back(*first + i);
    slot_pages_in_use_ += count;
    return true;
  }
  for (std::int64_t i = 0; i < pages; ++i) {
    const auto page = insist([&] { return arena_.allocate_page(); });
    if (!page) return false;
    mine.push_back(*page);
  }
  return true;
}

std::optional<SequenceCache> CachePool::allocate(std::shared_ptr<const Plan> plan, std::int64_t tokens) {
  if (pages_needed(*plan, tokens) > free_pages()) return std::nullopt;
  SequenceCache cache;
  cache.pool_ = this;
  cache.plan_ = std::move(plan);
  cache.capacity_ = tokens;
  const Plan& its = *cache.plan_;
  cache.layers_.resize(static_cast<std::size_t>(its.layers()));
  for (int layer = 0; layer < its.layers(); ++layer) {
    if (!take(cache, layer, divide_up(tokens, kernels::kPageTokens))) return std::nullopt;
    if (its.dsla(layer) != nullptr) {
      backend_.fill(cache.state(layer), std::byte{0}, its.slot(layer).states.state_floats() * sizeof(float));
    }
  }
  return cache;
}

std::optional<SequenceCache> CachePool::fork(const SequenceCache& prefix, std::int64_t prefix_tokens,
                                             std::int64_t tokens) {
  if (pages_to_fork(*prefix.plan_, prefix_tokens, tokens) > free_pages()) return std::nullopt;
  return continued(prefix.layers_, prefix.plan_, prefix_tokens, tokens);
}

void CachePool::refork(const SequenceCache& prefix, std::int64_t prefix_tokens, SequenceCache& child) {
  copy_own(prefix.layers_, prefix_tokens, child);
}

std::shared_ptr<const CacheSnapshot> CachePool::snapshot(const SequenceCache& sequence, std::int64_t tokens) {
  const std::optional<SequenceCache> copy = fork(sequence, tokens, tokens);
  if (!copy) return nullptr;
  return std::shared_ptr<const CacheSnapshot>(new CacheSnapshot(*this, copy->plan_, copy->layers_));
}

std::optional<SequenceCache> CachePool::resume(const CacheSnapshot& prefix, std::shared_ptr<const Plan> plan,
                                               std::int64_t prefix_tokens, std::int64_t tokens) {
  // What it shares with the snapshot is neither free for others nor needed anew.
  if (pages_to_fork(*plan, prefix_tokens, tokens) > free_pages() - spare_pages(prefix)) return std::nullopt;
  return continued(prefix.layers_, std::move(plan), prefix_tokens, tokens);
}

void CachePool::adopt(const CacheSnapshot& prefix, std::int64_t prefix_tokens, SequenceCache& sequence) {
  const auto shared = static_cast<std::size_t>(prefix_tokens / kernels::kPageTokens);
  for (int layer = 0; layer < sequence.plan_->layers(); ++layer) {
    if (sequence.plan_->dsla(layer) != nullptr) continue;
    for (std::size_t i = 0; i < shared; ++i) {
      std::int32_t& own = sequence.layers_[static_cast<std::size_t>(layer)][i];
      const std::int32_t its = prefix.layers_[static_cast<std::size_t>(layer)][i];
      arena_.retain(its);
      arena_.release(std::exchange(own, its));
    }
  }
  copy_own(prefix.layers_, prefix_tokens, sequence);
}

std::int64_t CachePool::spare_pages(const CacheSnapshot& snapshot) const {
  std::int64_t count = 0;
  for (const auto& pages : snapshot.layers_)
    count += std::ranges::count_if(pages, [this](std::int32_t page) { return arena_.spare(page); });
  return count;
}

std::optional<SequenceCache> CachePool::continued(const LayerPages& prefix, std::shared_ptr<const Plan> plan,
                                                  std::int64_t prefix_tokens, std::int64_t tokens) {
  SequenceCache child;
  child.pool_ = this;
  child.plan_ = std::move(plan);
  child.capacity_ = tokens;
  child.layers_.resize(prefix.size());
  const std::int64_t shared = prefix_tokens / kernels::kPageTokens;
  for (int layer = 0; layer < child.plan_->layers(); ++layer) {
    if (child.plan_->dsla(layer) == nullptr) {
      const auto& pages = prefix[static_cast<std::size_t>(layer)];
      for (std::int64_t i = 0; i < shared; ++i) {
        arena_.retain(pages[static_cast<std::size_t>(i)]);
        child.layers_[static_cast<std::size_t>(layer)].push_back(pages[static_cast<std::size_t>(i)]);
      }
    }
    if (!take(child, layer, divide_up(tokens, kernels::kPageTokens) - shared)) return std::nullopt;
  }
  copy_own(prefix, prefix_tokens, child);
  return child;
}

// What the child does not share: the last partial page, the states and the rings.
void CachePool::copy_own(const LayerPages& prefix, std::int64_t prefix_tokens, SequenceCache& child) {
  const auto partial = static_cast<std::size_t>(prefix_tokens / kernels::kPageTokens);
  const bool has_partial = prefix_tokens % kernels::kPageTokens != 0;
  for (int layer = 0; layer < child.plan_->layers(); ++layer) {
    const auto& from = prefix[static_cast<std::size_t>(layer)];
    if (child.plan_->dsla(layer) != nullptr) {
      backend_.copy(child.state(layer), page(from.front()), child.plan_->slot(layer).bytes());
    } else if (has_partial) {
      backend_.copy(page(child.layers_[static_cast<std::size_t>(layer)][partial]), page(from[partial]),
                    page_bytes());
    }
  }
}

std::size_t CachePool::state_bytes_used() const {
  return static_cast<std::size_t>(slot_pages_in_use_) * page_bytes();
}

std::size_t CachePool::kv_bytes_used() const {
  return static_cast<std::size_t>(total_pages() - free_pages()) * page_bytes() - state_bytes_used();
}

}  // namespace dslad::worker
