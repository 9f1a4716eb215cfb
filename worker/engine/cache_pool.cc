#include "worker/engine/cache_pool.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <limits>

namespace dslad::worker {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

int CacheShape::widest_d_k() const {
  int widest = 0;
  for (const SlotShape& slot : slots) widest = std::max(widest, slot.states.d_k);
  return widest;
}

bool CacheShape::has_window() const {
  return std::ranges::any_of(slots, [](const SlotShape& slot) { return slot.window.window > 0; });
}

CacheShape cache_shape(const LlamaConfig& config, kernels::DType kv_dtype, const ConvertedLayers& converted) {
  CacheShape shape{{kv_dtype, config.kv_heads, config.head_dim}, {}};
  for (std::size_t layer = 0; layer < static_cast<std::size_t>(config.layers); ++layer) {
    const bool there = layer < converted.size() && converted[layer] != nullptr;
    const DslaVariant variant = there ? converted[layer]->variant : DslaVariant{};
    shape.slots.push_back({dsla_shape(config, variant),
                           {config.heads, config.kv_heads, config.head_dim,
                            std::min<std::int64_t>(variant.window, config.context)}});
  }
  return shape;
}

kernels::DslaShape dsla_shape(const LlamaConfig& config, const DslaVariant& variant) {
  return {config.heads, config.kv_heads, variant.state_width(config.head_dim), config.head_dim};
}

SequenceCache::SequenceCache(SequenceCache&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      plan_(other.plan_),
      capacity_(other.capacity_),
      layers_(std::move(other.layers_)) {}

SequenceCache& SequenceCache::operator=(SequenceCache&& other) noexcept {
  if (this == &other) return *this;
  release();
  pool_ = std::exchange(other.pool_, nullptr);
  plan_ = other.plan_;
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
    if (pool_->order_.converted(layer, plan_)) pool_->slot_pages_in_use_ -= std::ssize(pages);
  }
  layers_.clear();
  pool_ = nullptr;
}

float* SequenceCache::state(int layer) const {
  return reinterpret_cast<float*>(pool_->page(layers_[static_cast<std::size_t>(layer)].front()));
}

float* SequenceCache::ring(int layer) const {
  return state(layer) + pool_->shape_.slot(layer).states.state_floats();
}

Result<std::unique_ptr<CachePool>> CachePool::create(kernels::Backend& backend, const CacheShape& shape,
                                                     const ConversionOrder& order, std::size_t budget_bytes) {
  const std::size_t pages = budget_bytes / shape.kv.page_bytes();
  if (pages == 0 || pages > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    return Error{
        ErrorCode::kInvalidArgument,
        fmt::format("a cache of {} bytes holds {} pages of {} bytes; give it between 1 and 2^31 - 1 pages",
                    budget_bytes, pages, shape.kv.page_bytes())};
  }
  auto memory = backend.allocate(pages * shape.kv.page_bytes());
  if (!memory) {
    return Error{
        ErrorCode::kResourceExhausted,
        fmt::format("the device has no {} MiB for the caches; lower the cache budget", budget_bytes >> 20)};
  }
  return std::unique_ptr<CachePool>(
      new CachePool(std::move(memory), shape, order, static_cast<std::int32_t>(pages)));
}

CachePool::CachePool(kernels::Backend::Buffer memory, const CacheShape& shape, const ConversionOrder& order,
                     std::int32_t pages)
    : memory_(std::move(memory)), shape_(shape), order_(order), arena_(pages), slots_to_(1, 0) {
  for (const SlotShape& slot : shape.slots) {
    const std::size_t slot_pages = (slot.bytes() + page_bytes() - 1) / page_bytes();
    slot_pages_.push_back(static_cast<std::int32_t>(slot_pages));
  }
  for (int position = 0; position < order.layers(); ++position) {
    slots_to_.push_back(slots_to_.back() + slot_pages_[static_cast<std::size_t>(order.layer_at(position))]);
  }
}

std::byte* CachePool::page(std::int32_t number) const {
  return memory_.get() + static_cast<std::size_t>(number) * page_bytes();
}

std::int64_t CachePool::pages_needed(int plan, std::int64_t tokens) const {
  const int converted = std::min(plan, order_.layers());
  return (order_.layers() - converted) * divide_up(tokens, kernels::kPageTokens) +
         slots_to_[static_cast<std::size_t>(converted)];
}

std::int64_t CachePool::pages_to_fork(int plan, std::int64_t prefix_tokens, std::int64_t tokens) const {
  const std::int64_t attention_layers = order_.layers() - std::min(plan, order_.layers());
  return pages_needed(plan, tokens) - attention_layers * (prefix_tokens / kernels::kPageTokens);
}

// Gives `layer` of the cache `pages` more pages, or the run for its slot. False when memory ran out: the
// caller drops the cache, which returns what it has.
bool CachePool::take(SequenceCache& cache, int layer, std::int64_t pages) {
  auto& mine = cache.layers_[static_cast<std::size_t>(layer)];
  if (order_.converted(layer, cache.plan_)) {
    const std::int32_t count = slot_pages_[static_cast<std::size_t>(layer)];
    const auto first = arena_.allocate_run(count);
    if (!first) return false;
    for (std::int32_t i = 0; i < count; ++i) mine.push_back(*first + i);
    slot_pages_in_use_ += count;
    return true;
  }
  for (std::int64_t i = 0; i < pages; ++i) {
    const auto page = arena_.allocate_page();
    if (!page) return false;
    mine.push_back(*page);
  }
  return true;
}

std::optional<SequenceCache> CachePool::allocate(int plan, std::int64_t tokens) {
  if (pages_needed(plan, tokens) > arena_.free_pages()) return std::nullopt;
  SequenceCache cache;
  cache.pool_ = this;
  cache.plan_ = plan;
  cache.capacity_ = tokens;
  cache.layers_.resize(static_cast<std::size_t>(order_.layers()));
  for (int layer = 0; layer < order_.layers(); ++layer) {
    if (!take(cache, layer, divide_up(tokens, kernels::kPageTokens))) return std::nullopt;
    if (order_.converted(layer, plan)) {
      std::memset(cache.state(layer), 0, shape_.slot(layer).states.state_floats() * sizeof(float));
    }
  }
  return cache;
}

std::optional<SequenceCache> CachePool::fork(const SequenceCache& prefix, std::int64_t prefix_tokens,
                                             std::int64_t tokens) {
  if (pages_to_fork(prefix.plan_, prefix_tokens, tokens) > arena_.free_pages()) return std::nullopt;
  SequenceCache child;
  child.pool_ = this;
  child.plan_ = prefix.plan_;
  child.capacity_ = tokens;
  child.layers_.resize(prefix.layers_.size());
  const std::int64_t shared = prefix_tokens / kernels::kPageTokens;
  for (int layer = 0; layer < order_.layers(); ++layer) {
    if (!order_.converted(layer, child.plan_)) {
      const auto& pages = prefix.layers_[static_cast<std::size_t>(layer)];
      for (std::int64_t i = 0; i < shared; ++i) {
        arena_.retain(pages[static_cast<std::size_t>(i)]);
        child.layers_[static_cast<std::size_t>(layer)].push_back(pages[static_cast<std::size_t>(i)]);
      }
    }
    if (!take(child, layer, divide_up(tokens, kernels::kPageTokens) - shared)) return std::nullopt;
  }
  refork(prefix, prefix_tokens, child);
  return child;
}

void CachePool::refork(const SequenceCache& prefix, std::int64_t prefix_tokens, SequenceCache& child) {
  const auto partial = static_cast<std::size_t>(prefix_tokens / kernels::kPageTokens);
  const bool has_partial = prefix_tokens % kernels::kPageTokens != 0;
  for (int layer = 0; layer < order_.layers(); ++layer) {
    if (order_.converted(layer, child.plan_)) {
      std::memcpy(child.state(layer), prefix.state(layer), shape_.slot(layer).bytes());
    } else if (has_partial) {
      std::memcpy(page(child.layers_[static_cast<std::size_t>(layer)][partial]),
                  page(prefix.layers_[static_cast<std::size_t>(layer)][partial]), page_bytes());
    }
  }
}

std::size_t CachePool::state_bytes_used() const {
  return static_cast<std::size_t>(slot_pages_in_use_) * page_bytes();
}

std::size_t CachePool::kv_bytes_used() const {
  return static_cast<std::size_t>(arena_.size() - arena_.free_pages()) * page_bytes() - state_bytes_used();
}

}  // namespace dslad::worker
