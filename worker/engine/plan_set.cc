#include "worker/engine/plan_set.h"

#include <fmt/format.h>

#include "worker/model/device.h"

namespace dslad::worker {

PlanSet::PlanSet(const ModelWeights& weights, const LoadedChain& chain)
    : edition_(chain.edition), converted_(chain.by_layer()) {
  for (int number = 0; number <= static_cast<int>(chain.layers.size()); ++number) {
    add(weights, chain.order, number, chain.quality_of(number));
  }
}

Result<PlanSet> PlanSet::create(const ModelWeights& weights, const LoadedChain& chain, int number) {
  PlanSet plans(weights, chain);
  const Status extended = plans.extend(weights, number);
  if (!extended) return extended.error();
  return plans;
}

Status PlanSet::extend(const ModelWeights& weights, int number) {
  const ConversionOrder order = this->order();
  if (number < 0 || number > order.layers()) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("plan {} is out of range; the model has {} layers", number, order.layers())};
  }
  ConvertedLayers extended = converted_;
  for (int position = largest(); position < number; ++position) {
    const int layer = order.layer_at(position);
    auto& form = extended[static_cast<std::size_t>(layer)];
    form = undistilled_dsla(*weights.device, weights.config, layer, weights.format);
    if (form == nullptr) {
      return no_memory(*weights.device, fmt::format("no memory to convert layer {}", layer));
    }
  }
  converted_ = std::move(extended);
  while (largest() < number) add(weights, order, largest() + 1, std::nullopt);
  return ok_status();
}

void PlanSet::cut(int number) {
  for (int position = number - 1; position < largest(); ++position)
    converted_[static_cast<std::size_t>(order().layer_at(position))] = nullptr;
  if (number <= largest()) plans_.resize(static_cast<std::size_t>(number));
}

void PlanSet::add(const ModelWeights& weights, const ConversionOrder& order, int number,
                  std::optional<double> quality) {
  plans_.push_back(std::make_shared<const Plan>(weights.config, weights.kv_dtype(), edition_, order,
                                                converted_, number, quality));
}

}  // namespace dslad::worker
