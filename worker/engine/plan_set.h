// The plans of one edition of a chain that can be used: 0, 1, ... up to the largest.
//
// A value: what it hands out is immutable and lives as long as anyone holds it. Thread safety: as a vector.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "worker/engine/plan.h"
#include "worker/model/weights.h"

namespace dslad::worker {

class PlanSet {
 public:
  // Plans end with the chain's usable layers. REQUIRES: the chain is of these weights.
  PlanSet(const ModelWeights& weights, const LoadedChain& chain);
  // The same and, up to plan `number`, plans with undistilled layers (undistilled_dsla) where the chain has
  // none. Errors: those of extend().
  static Result<PlanSet> create(const ModelWeights& weights, const LoadedChain& chain, int number);

  [[nodiscard]] int largest() const { return static_cast<int>(plans_.size()) - 1; }
  [[nodiscard]] const ConversionOrder& order() const { return plans_.front()->order(); }
  // REQUIRES: 0 <= number <= largest().
  [[nodiscard]] const std::shared_ptr<const Plan>& plan(int number) const {
    return plans_[static_cast<std::size_t>(number)];
  }
  [[nodiscard]] const std::shared_ptr<const Plan>& largest_plan() const { return plans_.back(); }
  [[nodiscard]] const std::vector<std::shared_ptr<const Plan>>& plans() const { return plans_; }

  // Adds the plans up to `number` that are missing, their further layers undistilled; the plans there are
  // stay the same objects. Errors, with which nothing has changed: kInvalidArgument when the model has fewer
  // layers; kRefused when they cannot be converted; kResourceExhausted.
  Status extend(const ModelWeights& weights, int number);
  // Forgets plan `number` and all larger ones. REQUIRES: number > 0.
  void cut(int number);

 private:
  void add(const ModelWeights& weights, const ConversionOrder& order, int number,
           std::optional<double> quality);

  std::string edition_;
  ConvertedLayers converted_;  // by layer; of the largest plan
  std::vector<std::shared_ptr<const Plan>> plans_;
};

}  // namespace dslad::worker
