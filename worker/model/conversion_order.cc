#include "worker/model/conversion_order.h"

#include <fmt/format.h>
#include <numeric>

namespace dslad::worker {

Result<ConversionOrder> ConversionOrder::create(std::vector<int> order) {
  std::vector<bool> seen(order.size(), false);
  for (const int layer : order) {
    if (layer < 0 || static_cast<std::size_t>(layer) >= order.size()) {
      return Error{
          ErrorCode::kInvalidArgument,
          fmt::format("conversion order names layer {} of a model with {} layers", layer, order.size())};
    }
    if (seen[static_cast<std::size_t>(layer)]) {
      return Error{ErrorCode::kInvalidArgument, fmt::format("conversion order names layer {} twice", layer)};
    }
    seen[static_cast<std::size_t>(layer)] = true;
  }
  return ConversionOrder(std::move(order));
}

ConversionOrder ConversionOrder::by_index(int layers) {
  std::vector<int> order(static_cast<std::size_t>(layers));
  std::iota(order.begin(), order.end(), 0);
  return ConversionOrder(std::move(order));
}

ConversionOrder::ConversionOrder(std::vector<int> order)
    : order_(std::move(order)), position_(order_.size()) {
  for (int position = 0; position < layers(); ++position) {
    position_[static_cast<std::size_t>(layer_at(position))] = position;
  }
}

}  // namespace dslad::worker
