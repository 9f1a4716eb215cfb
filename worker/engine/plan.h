// What a sequence is served with: which layers are converted, with which weights, and what it keeps of each.
//
// Plan n of a chain converts the first n layers of the chain's order. A sequence holds the plan that it was
// admitted with, and with it the weights that it uses: they are freed with the last plan that has them,
// however often the chain was replaced meanwhile. Immutable; safe from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/attention/window_attention.h"
#include "kernels/dsla/dsla.h"
#include "worker/model/config.h"
#include "worker/model/conversion_order.h"
#include "worker/model/dsla_variant.h"
#include "worker/model/loaded_chain.h"

namespace dslad::worker {

// What a sequence keeps of one converted layer: float32 states and, where the layer has a window, the
// ring of its latest tokens behind them.
struct SlotShape {
  kernels::DslaShape states;
  kernels::WindowShape window;  // its `window` is 0 where the layer has none

  [[nodiscard]] std::size_t bytes() const {
    return (states.state_floats() + window.ring_floats()) * sizeof(float);
  }
};

// Of a layer of this variant. A window longer than the model's context is the context: no sequence has more
// tokens.
SlotShape slot_shape(const LlamaConfig& config, const DslaVariant& variant);

// Of all attention layers' pages.
kernels::KvLayout kv_layout(const LlamaConfig& config, kernels::DType dtype);

// What buffers of a step must hold for a plan's rows, in floats.
struct RowWidths {
  std::int64_t qkv = 0;  // of the widest projections
  std::int64_t d_k = 0;  // of the widest states; 0: none
  bool window = false;   // whether any layer has one

  void cover(const RowWidths& other);
  bool operator==(const RowWidths&) const = default;
};

class Plan {
 public:
  // Of a chain of this edition (empty: there is none) and order. REQUIRES: `converted` (by layer) has the
  // first `number` layers of the order; the others in it are not the plan's.
  Plan(const LlamaConfig& config, kernels::DType kv_dtype, std::string edition, const ConversionOrder& order,
       const ConvertedLayers& converted, int number, std::optional<double> quality);

  [[nodiscard]] const std::string& edition() const { return edition_; }
  [[nodiscard]] int number() const { return number_; }
  [[nodiscard]] int layers() const { return order_.layers(); }  // of the model
  [[nodiscard]] const ConversionOrder& order() const { return order_; }
  [[nodiscard]] std::optional<double> quality() const { return quality_; }  // relative to plan 0

  // The layer's converted form; null where the plan leaves it as attention.
  [[nodiscard]] const DslaWeights* dsla(int layer) const {
    return converted_[static_cast<std::size_t>(layer)].get();
  }
  // REQUIRES: the plan converts the layer.
  [[nodiscard]] const SlotShape& slot(int layer) const { return slots_[static_cast<std::size_t>(layer)]; }

  // In pages, the unit of the caches.
  [[nodiscard]] const kernels::KvLayout& kv() const { return kv_; }
  [[nodiscard]] std::int32_t slot_pages(int layer) const;
  [[nodiscard]] std::int64_t slots_pages() const { return slots_pages_; }  // of a sequence's slots together
  [[nodiscard]] std::int64_t attention_layers() const { return layers() - number_; }

  [[nodiscard]] std::uint64_t kv_bytes_per_token() const;
  [[nodiscard]] std::uint64_t state_bytes() const;  // of a sequence's slots, of whole pages
  [[nodiscard]] const RowWidths& widths() const { return widths_; }

 private:
  std::string edition_;
  int number_;
  ConversionOrder order_;
  std::optional<double> quality_;
  kernels::KvLayout kv_;
  ConvertedLayers converted_;     // by layer; null: attention
  std::vector<SlotShape> slots_;  // by layer; of converted ones
  std::int64_t slots_pages_ = 0;
  RowWidths widths_;
};

}  // namespace dslad::worker
