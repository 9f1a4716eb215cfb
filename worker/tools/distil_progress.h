// What `dslad-model distil` tells people while it works: steps as they pass, and a line for each finished
// layer. Thread safety: one user at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "worker/distill/chain_training.h"
#include "worker/tools/status_line.h"

namespace dslad::worker {

class DistilProgress {
 public:
  // `layers`: to be converted in all. `budget_left`: seconds; empty without a budget.
  DistilProgress(int layers, bool json, std::function<double()> budget_left = {})
      : layers_(layers), json_(json), budget_left_(std::move(budget_left)) {}

  // `position`: of the layer in the order.
  void step(const StepReport& report, int position);
  void joint_step(const JointStep& step, double tokens_per_second);
  void layer(const LayerReport& report);
  void plans(const PlansReport& report);

 private:
  double seconds_per_step(const StepReport& report);
  // What there is of both the stage and the budget.
  [[nodiscard]] std::string left(double in_stage) const;

  int layers_;
  bool json_;
  std::function<double()> budget_left_;
  std::string quality_;  // of the last finished layer's plan
  StatusLine line_;
  std::chrono::steady_clock::time_point began_;
  std::int64_t steps_ = 0;
};

}  // namespace dslad::worker
