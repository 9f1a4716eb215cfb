// How far decisions are from the best there are, found by trying every choice of plans.
#include <gtest/gtest.h>

#include "tests/daemon/policy_world.h"

namespace dslad::daemon::policy {
namespace {

class Optimum : public ::testing::Test {
 protected:
  // Two to seven jobs of one client on a worker with four plans, and deadlines that some choice meets.
  void make_case(unsigned seed) {
    Scenario scenario;
    test::Trace trace(scenario, seed);
    const int count = trace.draw(2, 7);
    for (int i = 0; i < count; ++i) trace.add(0, trace.draw(300, 6'000));
    jobs_.clear();
    double cheapest_ms = 0;
    double plain_ms = 0;
    for (SimulatedJob& job : scenario.jobs) {
      cheapest_ms += work(job.job, 3);
      plain_ms += work(job.job, 0);
      if (trace.draw(0, 1) == 1) {
        const double part = 0.01 * trace.draw(5, 110);
        test::set_deadline(job, std::llround(std::ceil(cheapest_ms + part * (plain_ms - cheapest_ms))));
      } else {
        test::set_deadline(job, std::llround(plain_ms) + 1);
      }
      job.job.turn_ms = job.job.id;  // in this order
      jobs_.push_back(job.job);
    }
  }

  [[nodiscard]] double work(const WaitingJob& job, std::size_t plan) const {
    return model_.of(job.size, worker_.shape(worker_.plans[plan].plan)).total_ms();
  }

  // Of the jobs from `i` on, the least loss of quality times tokens with which all are in time.
  [[nodiscard]] double least_loss(std::size_t i, double begin_ms) const {
    if (i == jobs_.size()) return 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t plan = 0; plan < worker_.plans.size(); ++plan) {
      const double end_ms = begin_ms + work(jobs_[i], plan);
      if (end_ms > static_cast<double>(*jobs_[i].deadline_ms)) continue;
      least = std::min(least, loss(i, *worker_.plans[plan].quality) + least_loss(i + 1, end_ms));
    }
    return least;
  }

  [[nodiscard]] double loss(std::size_t i, double quality) const {
    return (1 - quality) * model_.prompt_tokens(jobs_[i].size);
  }

  CostModel model_ = test::truth();
  WorkerFacts worker_ = [] {
    WorkerFacts facts = test::worker();
    facts.plans = {{0, 1.0, 0, 0}, {8, 0.99, 0, 0}, {16, 0.975, 0, 0}, {24, 0.95, 0, 0}};
    return facts;
  }();
  std::vector<WaitingJob> jobs_;
};

TEST_F(Optimum, IsNearlyReached) {
  double best = 0;
  double reached = 0;
  for (unsigned seed = 0; seed < 1'000; ++seed) {
    SCOPED_TRACE(seed);
    make_case(seed);
    const Verdict verdict = decide({.min_quality = 0.9}, {}, jobs_, {worker_}, {{"cpu", model_}}, 0);
    double lost = 0;
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
      ASSERT_FALSE(verdict.decisions[i].late);
      lost += loss(i, *verdict.decisions[i].quality);
    }
    const double least = least_loss(0, 0);
    ASSERT_GE(lost, least - 1e-6);
    best += least;
    reached += lost;
  }
  EXPECT_LE(reached, 1.05 * best);
}

}  // namespace
}  // namespace dslad::daemon::policy
