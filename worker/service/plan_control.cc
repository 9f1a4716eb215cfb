#include "worker/service/plan_control.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/utf8.h"
#include "schema/limits.h"

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

void describe(const Plan& plan, schema::JobMetrics& metrics) {
  metrics.plan = static_cast<std::uint32_t>(plan.number());
  metrics.edition = plan.edition();
  metrics.quality = plan.quality();
}

PlanControl::PlanControl(std::shared_ptr<const ModelWeights> weights, LoadedChain chain)
    : weights_(std::move(weights)),
      chain_(std::move(chain)),
      plans_(*weights_, chain_),
      states_(first_states()) {}

std::vector<LayerState> PlanControl::first_states() const {
  std::vector<LayerState> states;
  states.reserve(static_cast<std::size_t>(chain_.order.layers()));
  for (int layer = 0; layer < chain_.order.layers(); ++layer) states.push_back(first_state(chain_, layer));
  return states;
}

const std::shared_ptr<const Plan>& PlanControl::plan_for(std::optional<std::uint32_t> asked,
                                                         double min_quality) const {
  if (!asked) return in_force();
  int number = static_cast<int>(std::min(*asked, static_cast<std::uint32_t>(plans_.largest())));
  while (number > 0 && plans_.plan(number)->quality().value_or(0) < min_quality) --number;
  return plans_.plan(number);
}

schema::PlanTable PlanControl::table() const {
  schema::PlanTable table;
  table.edition = chain_.edition;
  for (const auto& plan : plans_.plans()) {
    table.plans.push_back({static_cast<std::uint32_t>(plan->number()), plan->quality(),
                           plan->kv_bytes_per_token(), plan->state_bytes()});
  }
  table.plan = static_cast<std::uint32_t>(plan_);
  table.layer_info = layers();
  const std::string& fault = refused_.empty() ? chain_.warning : refused_;
  // A path need not be UTF-8.
  table.chain_fault = valid_utf8(fault) ? utf8_prefix(fault, schema::kMaxErrorBytes)
                                        : "its chain cannot be used; the worker's log says why";
  return table;
}

std::vector<schema::LayerInfo> PlanControl::layers() const {
  std::vector<schema::LayerInfo> out;
  out.reserve(states_.size());
  for (int layer = 0; layer < chain_.order.layers(); ++layer) out.push_back(info(layer));
  return out;
}

schema::LayerInfo PlanControl::info(int layer) const {
  const DslaWeights* dsla = plans_.largest_plan()->dsla(layer);
  schema::LayerInfo info;
  info.layer = static_cast<std::uint32_t>(layer);
  info.order = chain_.order.position_of(layer);
  info.state = states_[static_cast<std::size_t>(layer)];
  info.distilled = dsla != nullptr && dsla->distilled;
  if (const auto marked = marked_.find(layer);
      marked != marked_.end() && info.state == LayerState::kTransformer) {
    info.state = marked->second.state;
    info.quality = marked->second.quality;
    info.reason = marked->second.reason;
  }
  if (!chain_.manifest) return info;
  const LayerEvidence* evidence = chain_.manifest->evidence_of(layer);
  if (evidence != nullptr && evidence->entropy) info.entropy = evidence->entropy->last;
  if (evidence != nullptr) info.kl = evidence->kl;
  const PlanQuality* plan = chain_.manifest->quality_of(info.order + 1);
  if (plan != nullptr) info.quality = plan->quality;
  return info;
}

void PlanControl::mark(const LayerNews& news) {
  if (news.state == LayerState::kTransformer) {
    marked_.erase(news.layer);
  } else {
    marked_.insert_or_assign(news.layer, news);
  }
}

schema::PlanResult PlanControl::change(const schema::SetWorkerPlan& request) {
  schema::PlanResult result;
  result.request = request.request;
  if (request.generation >= generation_) carry_out(request, result);  // else one asked for later came first
  result.plan = static_cast<std::uint32_t>(plan_);
  result.generation = generation_;
  result.layer_info = layers();
  return result;
}

void PlanControl::carry_out(const schema::SetWorkerPlan& request, schema::PlanResult& result) {
  if (request.plan > static_cast<std::uint32_t>(chain_.order.layers())) {
    result.error = Error{
        ErrorCode::kInvalidArgument,
        fmt::format("plan {} is out of range; the model has {} layers", request.plan, chain_.order.layers())};
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
  if (withdrawn_ && plan >= withdrawn_->plan) {
    return Error{ErrorCode::kRefused,
                 fmt::format("plan {} is out of use until the chain is replaced, as are all from {} on ({})",
                             plan, withdrawn_->plan, withdrawn_->why)};
  }
  const int distilled = static_cast<int>(chain_.layers.size());
  if (plan > distilled && !allow_undistilled) {
    const std::string why = chain_.warning.empty() ? "" : fmt::format(" ({})", chain_.warning);
    return Error{
        ErrorCode::kRefused,
        fmt::format("plan {} converts layer {}, which has no distilled weights{}; the answers would be "
                    "useless (to convert it all the same, for a test: --allow-undistilled)",
                    plan, chain_.order.layer_at(distilled), why)};
  }
  return plans_.extend(*weights_, plan);
}

Status PlanControl::replace(LoadedChain chain) {
  if (!chain.fault.empty() || !chain.manifest) {
    refused_ =
        fmt::format("{}; the chain that was loaded before stays in force; put that right and write {} again",
                    chain.fault.empty() ? "the chain is gone" : chain.fault, kChainFile);
    return Error{ErrorCode::kRefused, refused_};
  }
  refused_.clear();
  if (chain.edition == chain_.edition && chain_.fault.empty()) return ok_status();  // it is in force already
  plans_ = PlanSet(*weights_, chain);
  chain_ = std::move(chain);
  states_ = first_states();
  withdrawn_.reset();
  std::erase_if(marked_, [&](const auto& marked) {
    return states_[static_cast<std::size_t>(marked.first)] != LayerState::kTransformer;
  });
  plan_ = std::min(plan_, plans_.largest());
  for (int position = 0; position < plan_; ++position)
    states_[static_cast<std::size_t>(chain_.order.layer_at(position))] = LayerState::kActive;
  return ok_status();
}

bool PlanControl::withdraw(const Plan& plan, const std::string& why) {
  const int number = plan.number();
  const bool in_use = number <= plans_.largest() && plans_.plan(number).get() == &plan;
  if (number == 0 || !in_use) return false;
  withdrawn_ = Withdrawal{number, why};
  plans_.cut(number);
  // From here on as if the chain had been loaded so, but for what is known of its layers' past.
  chain_.layers.resize(std::min(chain_.layers.size(), static_cast<std::size_t>(number - 1)));
  for (int position = number - 1; position < chain_.order.layers(); ++position) {
    const int layer = chain_.order.layer_at(position);
    LayerState& state = states_[static_cast<std::size_t>(layer)];
    const bool ran = state == LayerState::kActive || state == LayerState::kReverted;
    state = ran ? LayerState::kReverted : first_state(chain_, layer);
    if (position == number - 1) state = LayerState::kFailed;
  }
  plan_ = std::min(plan_, number - 1);
  return true;
}

std::vector<schema::LayerChange> PlanControl::switch_to(int plan, const std::string& reason) {
  std::vector<schema::LayerChange> changes;
  for (int layer = 0; layer < chain_.order.layers(); ++layer) {
    LayerState& state = states_[static_cast<std::size_t>(layer)];
    const bool active = chain_.order.converted(layer, plan);
    if (active == (state == LayerState::kActive)) continue;
    const LayerState to = active ? LayerState::kActive : LayerState::kReverted;
    changes.push_back({static_cast<std::uint32_t>(layer), info(layer).state, to, reason});
    state = to;
  }
  plan_ = plan;
  return changes;
}

}  // namespace dslad::worker
