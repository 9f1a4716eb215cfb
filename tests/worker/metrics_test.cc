// Scores against the usual Python packages' (tests/golden/make_metrics.py), and the bootstrap's properties.
#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "tests/worker/test_files.h"
#include "worker/eval/bootstrap.h"
#include "worker/eval/rouge.h"
#include "worker/eval/squad.h"

namespace dslad::worker {
namespace {

constexpr double kRounding = 1e-12;

TEST(Metrics, GiveTheScoresOfThePythonPackages) {
  const auto cases = testing::read_json(testing::golden_path("metrics/metrics.json"));
  ASSERT_GT(cases.size(), 100u);
  for (const auto& one : cases) {
    SCOPED_TRACE(one.dump());
    const std::string found = one["found"];
    const std::vector<std::string> references = one["references"];
    EXPECT_EQ(normalize_answer(found), one["normalized"].get<std::string>());
    const SquadScore squad = squad_score(found, references);
    EXPECT_EQ(squad.exact_match, one["exact_match"]);
    EXPECT_NEAR(squad.f1, one["f1"], kRounding);
    if (references.empty()) continue;
    const RougeScore rouge = rouge_score(found, references);
    EXPECT_NEAR(rouge.rouge1, one["rouge"][0], kRounding);
    EXPECT_NEAR(rouge.rouge2, one["rouge"][1], kRounding);
    EXPECT_NEAR(rouge.rouge_l, one["rouge"][2], kRounding);
  }
}

TEST(Metrics, TakeMalformedTextAsText) {
  const std::vector<std::string> references = {"a \xff b"};
  EXPECT_EQ(squad_score("\xfe b", references).exact_match, 1);
  EXPECT_EQ(rouge_score("\xc3", references).rouge1, 0);
}

TEST(Metrics, AnAnswerContainsAReferenceWhoseWordsStandSideBySide) {
  const std::vector<std::string> references = {"The Red Fox", "18,271"};
  EXPECT_EQ(squad_score("It was a red fox, I think.", references).contains, 1);
  EXPECT_EQ(squad_score("red and fox", references).contains, 0);
  EXPECT_EQ(squad_score("a red foxglove", references).contains, 0);
  EXPECT_EQ(squad_score("The number is 18271.", references).contains, 1);
  EXPECT_EQ(squad_score("", references).contains, 0);
  EXPECT_EQ(squad_score("", {}).contains, 1);  // the document does not answer it
  EXPECT_EQ(squad_score("red fox", {}).contains, 0);
}

// Clusters of one item each whose scores are 0 and 1 in turn.
std::vector<ClusterSums> coin(std::size_t count, double baseline) {
  std::vector<ClusterSums> clusters;
  for (std::size_t i = 0; i < count; ++i) clusters.push_back({static_cast<double>(i % 2), baseline, 1});
  return clusters;
}

TEST(Bootstrap, AgreesWithTheNormalIntervalOfManyItems) {
  const auto clusters = coin(400, 0.5);
  const PairedIntervals intervals = paired_bootstrap(clusters, 1);
  const double half = 1.96 * std::sqrt(0.25 / 400);
  EXPECT_NEAR(intervals.mean.low, 0.5 - half, 0.01);
  EXPECT_NEAR(intervals.mean.high, 0.5 + half, 0.01);
  ASSERT_TRUE(intervals.ratio.has_value());
  EXPECT_NEAR(intervals.ratio->low, 1 - 2 * half, 0.02);
  EXPECT_NEAR(intervals.ratio->high, 1 + 2 * half, 0.02);
}

TEST(Bootstrap, IsTheSameForTheSameSeed) {
  const auto clusters = coin(30, 0.5);
  EXPECT_EQ(paired_bootstrap(clusters, 7).mean, paired_bootstrap(clusters, 7).mean);
  EXPECT_EQ(paired_bootstrap(clusters, 7).ratio, paired_bootstrap(clusters, 7).ratio);
}

TEST(Bootstrap, PairsItemsSoThatEqualScoresHaveRatioOne) {
  std::vector<ClusterSums> clusters;
  for (int i = 1; i <= 20; ++i) clusters.push_back({1.0 * i, 1.0 * i, 2});
  const PairedIntervals intervals = paired_bootstrap(clusters, 3);
  EXPECT_EQ(intervals.ratio, (Interval{1, 1}));
  EXPECT_LT(intervals.mean.low, intervals.mean.high);
}

TEST(Bootstrap, HasNoRatioToABaselineWithoutScore) {
  EXPECT_FALSE(paired_bootstrap(coin(10, 0), 1).ratio.has_value());
}

TEST(Bootstrap, OfOneClusterIsAPoint) {
  const PairedIntervals intervals = paired_bootstrap(std::vector<ClusterSums>{{3, 4, 6}}, 1);
  EXPECT_EQ(intervals.mean, (Interval{0.5, 0.5}));
  EXPECT_EQ(intervals.ratio, (Interval{0.75, 0.75}));
}

}  // namespace
}  // namespace dslad::worker
