// The worker's hand on the plan: which plan new jobs get, and what each layer is.
//
// A change touches no running job: sequences keep the plan they began with. Thread safety: one caller at a
// time.
#pragma once

#include <string>
#include <vector>

#include "schema/reports.h"
#include "schema/worker_messages.h"
#include "worker/engine/engine.h"
#include "worker/model/loaded_chain.h"

namespace dslad::worker {

class PlanControl {
 public:
  // `chain`: what was measured of the engine's layers, and which of them are there; must outlive this object.
  PlanControl(Engine& engine, const LoadedChain& chain);

  [[nodiscard]] int plan() const { return plan_; }
  // The plan as results tell of it: its number, the chain's edition, its quality.
  void describe(int plan, schema::JobMetrics& metrics) const;
  [[nodiscard]] std::vector<schema::LayerInfo> layers() const;  // by layer

  // Carries out the request, unless one of a newer generation was: then nothing changes. Refused when a layer
  // of the plan has no distilled weights and undistilled ones are not allowed; then nothing has changed.
  schema::PlanResult change(const schema::ChangePlan& request);

 private:
  void carry_out(const schema::ChangePlan& request, schema::PlanResult& result);
  Status prepare(int plan, bool allow_undistilled);
  std::vector<schema::LayerChange> switch_to(int plan, const std::string& reason);

  [[nodiscard]] schema::LayerInfo info(int layer) const;

  Engine& engine_;
  const LoadedChain& chain_;
  int plan_ = 0;
  std::uint64_t generation_ = 0;            // of the change that set it
  std::vector<schema::LayerState> states_;  // by layer
};

}  // namespace dslad::worker
