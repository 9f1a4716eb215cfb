// One decision at a time, of jobs that are alike.
#pragma once

#include <gtest/gtest.h>
#include <set>
#include <string>
#include <vector>

#include "daemon/policy/policy.h"

namespace dslad::daemon::policy::test {

// A worker of eight layers; with every converted layer a job of 1,000 tokens takes a tenth less.
class PolicyTest : public ::testing::Test {
 protected:
  // Milliseconds: a second on plan 0, and 0.2 s with all layers converted.
  PolicyTest() { costs_["fast"] = CostModel::recorded({0.2, 0.8e-3, 0, 0, 0, 0, 0}, 1, 1, 1); }

  static WorkerFacts worker(const std::string& name = "w") {
    WorkerFacts facts;
    facts.instance = name;
    facts.speed_key = "fast";
    facts.model = "tiny";
    facts.model_digest = "d1";
    facts.layers = 8;
    facts.context = 8'192;
    for (std::uint32_t plan = 0; plan <= 8; ++plan)
      facts.plans.push_back({plan, 1 - 0.01 * plan, 800 - 100 * plan, 1'000 * plan});
    return facts;
  }

  // 1,000 tokens, a second of work on plan 0 and 0.2 s on plan 8.
  WaitingJob job(const std::string& client = "ada") {
    WaitingJob made;
    made.id = ++last_id_;
    made.client = client;
    made.submitted_ms = kNow;
    made.turn_ms = kNow + 86'400'000;
    made.size = {1'000, 0, 10};
    return made;
  }

  std::vector<WaitingJob> jobs(int count, const std::string& client = "ada") {
    std::vector<WaitingJob> all;
    all.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) all.push_back(job(client));
    return all;
  }

  Verdict decide_at(std::int64_t now_ms, const std::vector<WaitingJob>& waiting) {
    Verdict verdict = decide(settings_, history_, waiting, workers_, costs_, now_ms);
    history_ = verdict.history;
    return verdict;
  }
  Verdict decide_now(const std::vector<WaitingJob>& waiting) { return decide_at(kNow, waiting); }

  static std::vector<std::uint32_t> plans(const Verdict& verdict) {
    std::vector<std::uint32_t> all;
    for (const Decision& one : verdict.decisions) all.push_back(one.plan);
    return all;
  }

  static std::size_t distinct(std::vector<std::uint32_t> plans) {
    return std::set<std::uint32_t>(plans.begin(), plans.end()).size();
  }

  static constexpr std::int64_t kNow = 1'000'000;
  Settings settings_{.min_quality = 0.9, .target_drain_ms = 10'000};
  History history_;
  std::vector<WorkerFacts> workers_ = {worker()};
  CostModels costs_;
  std::int64_t last_id_ = 0;
};

}  // namespace dslad::daemon::policy::test
