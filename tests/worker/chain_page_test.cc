#include "worker/report/chain_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dslad::worker {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

nlohmann::json group(const char* name, double exact_match, int items) {
  return {{"group", name}, {"items", items}, {"exact_match", {{"mean", exact_match}}}};
}

PlanQuality plan_with(nlohmann::json scores) {
  PlanQuality plan;
  plan.quality = 0.9;
  plan.scores = std::move(scores);
  return plan;
}

TEST(ChainPageTest, ShowsWhatEachPlanRetainsByDistance) {
  ChainManifest manifest;
  manifest.plans = {plan_with({{"qa.jsonl", {{"by_distance", {group("<=512", 1, 4), group("<=2k", 0.5, 4)}}}},
                               {"more.jsonl", {{"by_distance", {group("<=2k", 1, 12)}}}}})};
  const std::string page = chain_page(manifest, {});
  EXPECT_THAT(page, HasSubstr("Retention by fact distance"));
  EXPECT_THAT(page, HasSubstr("Exact answers by distance"));
  EXPECT_THAT(page, Not(HasSubstr("contain a right one")));
}

TEST(ChainPageTest, ShowsAnswersInWholeSentencesByDistance) {
  const nlohmann::json far = {{"group", "<=2k"}, {"items", 4}, {"contains", {{"mean", 0.5}}}};
  ChainManifest manifest;
  manifest.plans = {plan_with({{"qa.jsonl", {{"by_distance", {far}}}}})};
  EXPECT_THAT(chain_page(manifest, {}), HasSubstr("Answers that contain a right one by distance"));
}

TEST(ChainPageTest, LeavesOutWhatWasNotMeasured) {
  EXPECT_THAT(chain_page({}, {}), Not(HasSubstr("Retention")));
}

TEST(ChainPageTest, ScoresOfAnyShapeGoOnThePage) {
  for (const char* scores :
       {R"([])", R"({"a": 1})", R"({"a": {"by_distance": 3}})",
        R"({"a": {"by_distance": [1, {}, {"group": 2}]}})",
        R"({"a": {"by_distance": [{"group": "<=", "items": 1, "exact_match": {"mean": 1}}]}})",
        R"({"a": {"by_distance": {"b": {"group": "<=4k", "items": 0, "exact_match": {"mean": 1}}}}})"}) {
    ChainManifest manifest;
    manifest.plans = {plan_with(nlohmann::json::parse(scores))};
    EXPECT_THAT(chain_page(manifest, {}), HasSubstr("</html>")) << scores;
  }
}

}  // namespace
}  // namespace dslad::worker
