// What plans cost beside what their sizes say. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "daemon/policy/facts.h"

namespace dslad::daemon::policy {

// What the jobs of a plan take, of what a StreamFit of the jobs of all plans says: the least squares of the
// relative error once more, for each plan by itself. A plan that is not used keeps its factor for long: it
// must not become unknown, and be tried again, because others were used. One that never ran lies between its
// neighbours.
template <std::size_t N>
class PlanFactors {
 public:
  using Row = std::array<double, N>;  // of terms, as in StreamFit
  void add(const PlanShape& plan, const Row& x, double y, double predicted);
  // The coefficients have changed.
  void follow(const Row& weights);
  [[nodiscard]] double of(const PlanShape& plan) const;

  struct Plan {
    PlanShape shape;
    double factor = 1;
    std::array<Row, N> products{};  // as in StreamFit
    Row targets{};
    double jobs = 0;  // that are not forgotten
  };
  [[nodiscard]] const std::vector<Plan>& plans() const { return plans_; }  // ascending
  void set(const PlanShape& plan, double factor);                          // until the next follow()

 private:
  Plan& plan_of(const PlanShape& shape);
  static void fade(Plan& plan, double kept);

  std::vector<Plan> plans_;
};

}  // namespace dslad::daemon::policy
