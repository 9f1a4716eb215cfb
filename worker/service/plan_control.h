// The worker's hand on the plan: which plans there are, which of them new jobs get, and what each layer is.
//
// Holds one edition of the chain, which another can replace. Neither that nor a change of the plan touches a
// running job: it keeps the plan it began with. Thread safety: one caller at a time.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "schema/reports.h"
#include "schema/worker_messages.h"
#include "worker/engine/plan_set.h"
#include "worker/idle/layer_news.h"
#include "worker/model/loaded_chain.h"
#include "worker/model/weights.h"

namespace dslad::worker {

// A plan as results tell of it: its number, the chain's edition, its quality.
void describe(const Plan& plan, schema::JobMetrics& metrics);

class PlanControl {
 public:
  // `chain`: of these weights.
  PlanControl(std::shared_ptr<const ModelWeights> weights, LoadedChain chain);

  [[nodiscard]] const std::shared_ptr<const Plan>& in_force() const { return plans_.plan(plan_); }
  [[nodiscard]] const PlanSet& plans() const { return plans_; }
  // For a job that was given the plan `asked`: that, or the largest below it that there is and that has
  // `min_quality`; the plan in force where it was given none.
  [[nodiscard]] const std::shared_ptr<const Plan>& plan_for(std::optional<std::uint32_t> asked,
                                                            double min_quality = 0) const;
  [[nodiscard]] const std::string& edition() const { return chain_.edition; }
  [[nodiscard]] std::vector<schema::LayerInfo> layers() const;  // by layer
  // What the daemon chooses from: edition, plans and the one in force; and what of the chain cannot be used.
  [[nodiscard]] schema::PlanTable table() const;

  // Carries out the request, unless one of a newer generation was: then nothing changes. Refused when a layer
  // of the plan has no distilled weights and undistilled ones are not allowed, or the plan was withdrawn;
  // then nothing has changed.
  schema::PlanResult change(const schema::SetWorkerPlan& request);

  // Puts another edition of the chain in the place of the one there is. The plan in force keeps its number
  // where the new chain has it, else it is the largest there is. The edition that is in force changes nothing
  // but that no other is refused any more. kRefused, with which nothing has changed,
  // when any part of the new chain cannot be used: says which file, why, and what to do.
  Status replace(LoadedChain chain);

  // Takes a plan that failed, and all larger ones, out of use until another edition comes: the plan in force
  // falls to the largest that is left, and the layer that the plan ends with is `failed`. False, with which
  // nothing has changed: it is not in use any more, or it is plan 0, without which there is no answer.
  bool withdraw(const Plan& plan, const std::string& why);

  // What layers() says of a layer that the chain does not have, until it has it.
  void mark(const LayerNews& news);

 private:
  struct Withdrawal {
    int plan;  // the smallest
    std::string why;
  };
  void carry_out(const schema::SetWorkerPlan& request, schema::PlanResult& result);
  Status prepare(int plan, bool allow_undistilled);
  std::vector<schema::LayerChange> switch_to(int plan, const std::string& reason);
  [[nodiscard]] std::vector<schema::LayerState> first_states() const;
  [[nodiscard]] schema::LayerInfo info(int layer) const;

  std::shared_ptr<const ModelWeights> weights_;
  LoadedChain chain_;
  PlanSet plans_;
  int plan_ = 0;
  std::uint64_t generation_ = 0;            // of the change that set it
  std::vector<schema::LayerState> states_;  // by layer
  std::optional<Withdrawal> withdrawn_;     // of this edition
  std::string refused_;                     // why the latest replacement was; empty: it was not
  std::map<int, LayerNews> marked_;         // by layer
};

}  // namespace dslad::worker
