#include "worker/service/plan_control.h"

#include <fmt/format.h>

namespace dslad::worker {

using schema::LayerState;

namespace {

// Of a layer that no plan has touched yet.
LayerState first_state(const LoadedChain& chain, int layer) {
  const auto position = static_cast<std::size_t>(chain.order.position_of(layer));
  if (position < chain.layers.size()) return LayerState::kDistilled;
  // The layer that plans stop before: it was distilled, but cannot be used.
  const bool unusable =
      chain.manifest && position == chain.layers.size() && position < chain.manifest->distilled.size();
  return unusable ? LayerState::kFailed : LayerState::kTransformer;
}

}  // namespace

PlanControl::PlanControl(Engine& engine, const LoadedChain& chain) : engine_(engine), chain_(chain) {
  states_.reserve(static_cast<std::size_t>(engine.order().layers()));
  for (int layer = 0; layer < engine.order().layers(); ++layer) states_.push_back(first_state(chain, layer));
}

std::vector<schema::LayerInfo> PlanControl::layers() const {
  std::vector<schema::LayerInfo> out;
  out.reserve(states_.size());
  for (int layer = 0; layer < engine_.order().layers(); ++layer) out.push_back(info(layer));
  return out;
}

schema::LayerInfo PlanControl::info(int layer) const {
  const DslaWeights* dsla = engine_.converted(layer);
  schema::LayerInfo info;
  info.layer = static_cast<std::uint32_t>(layer);
  info.order = engine_.order().position_of(layer);
  info.state = states_[static_cast<std::size_t>(layer)];
  info.distilled = dsla != nullptr && dsla->distilled;
  if (!chain_.manifest) return info;
  const LayerEvidence* evidence = chain_.manifest->evidence_of(layer);
  if (evidence != nullptr && evidence->entropy) info.entropy = evidence->entropy->last;
  if (evidence != nullptr) info.kl = evidence->kl;
  const PlanQuality* plan = chain_.manifest->quality_of(info.order + 1);
  if (plan != nullptr) info.quality = plan->quality;
  return info;
}

void PlanControl::describe(int plan, schema::JobMetrics& metrics) const {
  metrics.plan = static_cast<std::uint32_t>(plan);
  metrics.edition = chain_.edition;
  metrics.quality = chain_.quality_of(plan);
}

schema::PlanResult PlanControl::change(const schema::ChangePlan& request) {
  schema::PlanResult result;
  result.request = request.request;
  if (request.generation >= generation_) carry_out(request, result);  // else one asked for later came first
  result.plan = static_cast<std::uint32_t>(plan_);
  result.generation = generation_;
  result.layer_info = layers();
  return result;
}

void PlanControl::carry_out(const schema::ChangePlan& request, schema::PlanResult& result) {
  if (request.plan > static_cast<std::uint32_t>(engine_.order().layers())) {
    result.error =
        Error{ErrorCode::kInvalidArgument, fmt::format("plan {} is out of range; the model has {} layers",
                                                       request.plan, engine_.order().layers())};
    return;
  }
  const int plan = static_cast<int>(request.plan);
  const Status prepared = prepare(plan, request.allow_undistilled);
  if (!prepared) {
    result.error = prepared.error();
    return;
  }
  result.changes = switch_to(plan, request.reason);
  generation_ = request.generation;
}

Status PlanControl::prepare(int plan, bool allow_undistilled) {
  const ConversionOrder& order = engine_.order();
  for (int position = 0; position < plan; ++position) {
    const int layer = order.layer_at(position);
    const DslaWeights* dsla = engine_.converted(layer);
    if ((dsla == nullptr || !dsla->distilled) && !allow_undistilled) {
      const std::string why = chain_.warning.empty() ? "" : fmt::format(" ({})", chain_.warning);
      return Error{
          ErrorCode::kRefused,
          fmt::format("plan {} converts layer {}, which has no distilled weights{}; the answers would be "
                      "useless (to convert it all the same, for a test: --allow-undistilled)",
                      plan, layer, why)};
    }
  }
  for (int position = 0; position < plan; ++position) {
    const int layer = order.layer_at(position);
    if (engine_.converted(layer) != nullptr) continue;
    auto dsla = undistilled_dsla(engine_.weights().config, layer, engine_.weights().dtype);
    if (dsla == nullptr) {
      return Error{ErrorCode::kResourceExhausted, fmt::format("no memory to convert layer {}", layer)};
    }
    engine_.install(layer, std::move(dsla));
  }
  return ok_status();
}

std::vector<schema::LayerChange> PlanControl::switch_to(int plan, const std::string& reason) {
  std::vector<schema::LayerChange> changes;
  for (int layer = 0; layer < engine_.order().layers(); ++layer) {
    LayerState& state = states_[static_cast<std::size_t>(layer)];
    const bool active = engine_.order().converted(layer, plan);
    if (active == (state == LayerState::kActive)) continue;
    const LayerState to = active ? LayerState::kActive : LayerState::kReverted;
    changes.push_back({static_cast<std::uint32_t>(layer), state, to, reason});
    state = to;
  }
  plan_ = plan;
  return changes;
}

}  // namespace dslad::worker
