#include "worker/engine/plan.h"

#include <algorithm>
#include <utility>

namespace dslad::worker {

SlotShape slot_shape(const LlamaConfig& config, const DslaVariant& variant) {
  return {
      {config.heads, config.kv_heads, variant.state_width(config.head_dim), config.head_dim, variant.states},
      {config.heads, config.kv_heads, config.head_dim, std::min<std::int64_t>(variant.window, config.context),
       variant.sinks}};
}

kernels::KvLayout kv_layout(const LlamaConfig& config, kernels::DType dtype) {
  return {dtype, config.kv_heads, config.head_dim};
}

void RowWidths::cover(const RowWidths& other) {
  qkv = std::max(qkv, other.qkv);
  d_k = std::max(d_k, other.d_k);
  window = window || other.window;
}

Plan::Plan(const LlamaConfig& config, kernels::DType kv_dtype, std::string edition,
           const ConversionOrder& order, const ConvertedLayers& converted, int number,
           std::optional<double> quality)
    : edition_(std::move(edition)),
      number_(number),
      order_(order),
      quality_(quality),
      kv_(kv_layout(config, kv_dtype)),
      converted_(static_cast<std::size_t>(order.layers())),
      slots_(converted_.size()) {
  widths_.qkv = std::int64_t{config.heads + 2 * config.kv_heads} * config.head_dim;
  for (int position = 0; position < number; ++position) {
    const int layer = order.layer_at(position);
    const auto i = static_cast<std::size_t>(layer);
    converted_[i] = converted[i];
    slots_[i] = slot_shape(config, converted[i]->variant);
    slots_pages_ += slot_pages(layer);
    const std::int64_t qkv = converted[i]->own_projections() ? converted[i]->qkv->n() : 0;
    widths_.cover({qkv, slots_[i].states.d_k, slots_[i].window.window > 0});
  }
}

std::int32_t Plan::slot_pages(int layer) const {
  return static_cast<std::int32_t>((slot(layer).bytes() + kv_.page_bytes() - 1) / kv_.page_bytes());
}

std::uint64_t Plan::kv_bytes_per_token() const {
  return static_cast<std::uint64_t>(attention_layers()) * kv_.page_bytes() / kernels::kPageTokens;
}

std::uint64_t Plan::state_bytes() const {
  return static_cast<std::uint64_t>(slots_pages_) * kv_.page_bytes();
}

}  // namespace dslad::worker
