// A distillation within a time that a person has named: what it measures at its beginning, how it answers
// when the training asks for a layer's steps or whether a stage ends, and what it keeps of all that in the
// chain's folder (distill/budget_record.h). How time is divided is decided in distill/allotment.h.
//
// Thread safety: one user at a time. Borrows the session, which must outlive it.
#pragma once

#include <memory>
#include <string>

#include "worker/distill/allotment.h"
#include "worker/distill/budget_record.h"
#include "worker/distill/stopwatch.h"
#include "worker/tools/training_session.h"

namespace dslad::worker {

class BudgetRun {
 public:
  // `seconds`: in all, from the first run's beginning; `watch` runs since this one's. `recipe`: what must not
  // change. With `record` the run goes on by it; without, speed is measured and what follows from it stored.
  // Takes its part of the session's held-out sequences. Errors: kRefused where the budget does not
  // suffice for one layer (says how much would); those of training and of files.
  static Result<std::unique_ptr<BudgetRun>> open(TrainingSession& session, const ChainSetup& setup,
                                                 double seconds, const Stopwatch& watch,
                                                 nlohmann::json recipe, std::optional<BudgetRecord> record);

  [[nodiscard]] double left() const { return seconds_ - used(); }

  // Makes `setup` ask this run. REQUIRES: this object outlives it, and stays where it is.
  void attach(ChainSetup& setup);
  // The layer-wise stage of all layers and the order that follows from it, in the session's manifest and on
  // disk, where that has not been done.
  Status prepare_order(const ChainSetup& setup);
  // Stores the time used; to be called however the run ends.
  Status close() { return save(); }
  // Whether a chain that ended here has a layer; says on stderr what the time came to.
  Status conclude() const;

 private:
  BudgetRun(TrainingSession& session, int layers, double seconds, const Stopwatch& watch);
  Status begin(const ChainSetup& setup, nlohmann::json recipe);
  [[nodiscard]] FirstMeasures foreseen() const;
  Status save();
  [[nodiscard]] double used() const { return used_before_ + watch_.seconds(); }
  [[nodiscard]] double closing(Stage stage) const;
  [[nodiscard]] double step_seconds(Stage stage) const;
  [[nodiscard]] double measuring_seconds(int first) const;
  [[nodiscard]] double joint_measuring_seconds() const;
  [[nodiscard]] std::vector<LayerCost> to_come() const;
  [[nodiscard]] StageOptions stage_of(std::int64_t steps) const;
  [[nodiscard]] bool is_joint() const { return session_.arguments.options.joint_chained; }
  Result<std::optional<StageOptions>> chained_stage(int layer);
  Result<std::optional<StageOptions>> joint_chained_stage();
  DecidedSteps& decided(Stage stage);
  Result<bool> ends_early(Stage stage, std::int64_t done);
  void heard(const JointStep& step, double tokens_per_second);
  void heard(const StepReport& report);
  void heard_tokens(std::int64_t tokens);
  void heard(const LayerReport& report);
  void note_decisions();

  TrainingSession& session_;
  double seconds_;
  const Stopwatch& watch_;
  PassCosts costs_;
  AllotmentLimits limits_;
  int layers_;                  // of the order, to be converted in all
  double step_tokens_;          // of a step: at most, then the mean of those that were done
  std::int64_t steps_ = 0;      // that were done here
  double used_before_ = 0;      // by earlier processes
  double held_out_tokens_ = 0;  // of those to measure on
  BudgetRecord record_;
  Stopwatch since_saved_, since_joint_;  // the last layer-wise step

  // Of the layer that is being trained; of all layers at once: the lowest.
  int layer_ = 0, first_ = 0;  // and the lowest converted one, itself or one below
  bool at_once_ = false;
  Stopwatch since_begun_;
  double in_steps_ = 0;  // seconds
  bool begun_here_ = false;
  double measuring_factor_ = 1;  // what a layer takes beside its steps, of what was foreseen
};

}  // namespace dslad::worker
