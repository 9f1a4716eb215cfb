// Which layers are DSLA under which plan: plan n converts the first n layers of the order, so plans nest.
//
// Thread safety: immutable. Invariant: the order is a permutation of the model's layers.
#pragma once

#include <vector>

#include "base/result.h"

namespace dslad::worker {

class ConversionOrder {
 public:
  // kInvalidArgument unless `order` names each of 0..order.size()-1 once.
  static Result<ConversionOrder> create(std::vector<int> order);
  // First layer first: used where nothing has been measured yet.
  static ConversionOrder by_index(int layers);

  [[nodiscard]] int layers() const { return static_cast<int>(order_.size()); }
  [[nodiscard]] int layer_at(int position) const { return order_[static_cast<std::size_t>(position)]; }
  [[nodiscard]] int position_of(int layer) const { return position_[static_cast<std::size_t>(layer)]; }
  [[nodiscard]] bool converted(int layer, int plan) const { return position_of(layer) < plan; }

 private:
  explicit ConversionOrder(std::vector<int> order);

  std::vector<int> order_;     // position -> layer
  std::vector<int> position_;  // layer -> position
};

}  // namespace dslad::worker
