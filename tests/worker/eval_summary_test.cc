// What becomes of scores: their log, the summary of a file, and what a chain keeps of it.
#include <cmath>
#include <fstream>
#include <gmock/gmock.h>

#include "tests/worker/test_files.h"
#include "worker/eval/chain_quality.h"
#include "worker/eval/results_log.h"
#include "worker/eval/summary_report.h"

namespace dslad::worker {
namespace {

using ::testing::HasSubstr;

const ResultsLog::Facts kModelFacts = {{"model", "aa"}, {"dtype", "f32"}};

TEST(ResultsLog, LeavesAForeignFileAsItIs) {
  const testing::TempDir dir;
  const auto path = dir.path() / "summary.json";
  for (const std::string foreign : {"{\"answer\": 42}", "one\ntwo\nthr"}) {
    std::ofstream(path) << foreign;
    const auto log = ResultsLog::open(path, kModelFacts, true);
    ASSERT_FALSE(log.ok());
    EXPECT_THAT(log.error().message, HasSubstr(path.string()));
    EXPECT_EQ(testing::read_text(path), foreign);
  }
}

TEST(ResultsLog, RefusesWhatItMustNotMix) {
  const testing::TempDir dir;
  const auto path = dir.path() / "results.jsonl";
  ASSERT_TRUE(ResultsLog::open(path, kModelFacts, false).ok());
  const auto again = ResultsLog::open(path, kModelFacts, false);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, ErrorCode::kRefused);
  EXPECT_THAT(again.error().message, HasSubstr("--resume"));
  const auto other = ResultsLog::open(path, {{"model", "bb"}}, true);
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code, ErrorCode::kRefused);
  EXPECT_THAT(other.error().message, HasSubstr("was made with model aa, but this is bb"));
}

TEST(ResultsLog, NamesADamagedLine) {
  const testing::TempDir dir;
  const auto path = dir.path() / "results.jsonl";
  ASSERT_TRUE(ResultsLog::open(path, kModelFacts, false).ok());
  std::ofstream(path, std::ios::app) << "{\"file\": \n";
  const auto damaged = ResultsLog::open(path, kModelFacts, true);
  ASSERT_FALSE(damaged.ok());
  EXPECT_EQ(damaged.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(damaged.error().message, HasSubstr("results.jsonl: line 2"));
}

TEST(ResultsLog, RefusesAFolderThatIsNotThere) {
  const auto log = ResultsLog::open("/nonexistent/results.jsonl", kModelFacts, false);
  ASSERT_FALSE(log.ok());
  EXPECT_THAT(log.error().message, HasSubstr("/nonexistent/results.jsonl"));
}

TEST(ScoreRecord, SurvivesItsLine) {
  ScoreRecord record;
  record.key = {{"f", "i", 3}, 2};
  record.kind = "late";
  record.tokens = 77;
  record.weight = 0.1;
  record.scores = {{"f1", 1.0 / 3}, {"exact_match", 0}};
  record.text = "a \"b\"\n\xe2\x82\xac";
  const auto read = parse_record(to_line(record), "here");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(to_line(*read), to_line(record));
  EXPECT_EQ(read->scores.at("f1"), 1.0 / 3);
}

// Two documents of two items under plans 0 and 1.
struct Made {
  EvalData data;
  EvaluatedFile evaluated;
  ResultsLog log;

  explicit Made(DataKind kind) {
    data.file = "made";
    data.kind = kind;
  }
  void add(const char* id, int item, const std::map<std::string, double>& plan0,
           const std::map<std::string, double>& plan1, double weight = 1) {
    evaluated.items.push_back({"made", id, item});
    for (const int plan : {0, 1}) {
      ScoreRecord record;
      record.key = {evaluated.items.back(), plan};
      record.kind = item == 0 ? "early" : "late";
      record.tokens = std::string(id) == "a" ? 512 : 513;
      if (item == 0) record.distance = record.tokens - 300;
      record.weight = weight;
      record.scores = plan == 0 ? plan0 : plan1;
      ASSERT_TRUE(log.append(record).ok());
    }
  }
  FileSummary summary() { return summarize_file(data, evaluated, std::vector<int>{0, 1}, log, 1); }
};

TEST(Summary, GivesMeansRatiosAndGroups) {
  Made made(DataKind::kQa);
  made.add("a", 0, {{"exact_match", 1}, {"f1", 1}, {"contains", 1}},
           {{"exact_match", 0}, {"f1", 0.5}, {"contains", 1}});
  made.add("a", 1, {{"exact_match", 1}, {"f1", 1}, {"contains", 1}},
           {{"exact_match", 1}, {"f1", 1}, {"contains", 1}});
  made.add("b", 0, {{"exact_match", 0}, {"f1", 0}, {"contains", 0}},
           {{"exact_match", 0}, {"f1", 0}, {"contains", 0}});
  made.add("b", 1, {{"exact_match", 1}, {"f1", 1}, {"contains", 1}},
           {{"exact_match", 0}, {"f1", 0}, {"contains", 0}});
  const FileSummary summary = made.summary();
  EXPECT_EQ(summary.documents, 2);
  EXPECT_EQ(summary.plans[0].scores.at("f1").mean, 0.75);
  EXPECT_EQ(summary.plans[0].scores.at("f1").ratio, 1);
  EXPECT_EQ(summary.plans[1].scores.at("f1").mean, 0.375);
  EXPECT_EQ(summary.plans[1].scores.at("f1").ratio, 0.5);
  EXPECT_EQ(summary.plans[1].scores.at("f1").intervals.mean, (Interval{0, 0.75}));
  ASSERT_EQ(summary.plans[1].by_length.size(), 2u);
  EXPECT_EQ(summary.plans[1].by_length[0].name, "<=512");
  EXPECT_EQ(summary.plans[1].by_length[0].scores.at("f1").mean, 0.75);
  EXPECT_EQ(summary.plans[1].by_length[1].name, "<=1k");
  ASSERT_EQ(summary.plans[1].by_distance.size(), 1u);  // the second items' distance is not known
  EXPECT_EQ(summary.plans[1].by_distance[0].name, "<=512");
  EXPECT_EQ(summary.plans[1].by_distance[0].items, 2);
  EXPECT_EQ(summary.plans[1].by_distance[0].scores.at("f1").mean, 0.25);
  EXPECT_EQ(summary.plans[1].by_kind[1].name, "late");
  EXPECT_EQ(summary.plans[1].by_kind[1].scores.at("exact_match").mean, 0.5);
  EXPECT_EQ(summary.plans[1].scores.at("contains").mean, 0.5);
  EXPECT_EQ(headlines({&summary, 1}, std::vector<int>{0, 1})[1].quality, 0.5);
  EXPECT_THAT(to_table(summary), HasSubstr("made (qa): 4 items of 2 documents"));
}

TEST(Summary, WeighsWindowsByTheirTokens) {
  Made made(DataKind::kText);
  made.add("", 0, {{"nats", 1}, {"kl", 0}}, {{"nats", 2}, {"kl", 0.5}}, 30);
  made.add("", 1, {{"nats", 2}, {"kl", 0}}, {{"nats", 2}, {"kl", 0.1}}, 10);
  const FileSummary summary = made.summary();
  EXPECT_DOUBLE_EQ(summary.plans[0].scores.at("nats").mean, 1.25);
  const PlanHeadline line = headlines({&summary, 1}, std::vector<int>{0, 1})[1];
  EXPECT_DOUBLE_EQ(*line.kl, 0.4);
  EXPECT_DOUBLE_EQ(*line.perplexity_ratio, std::exp(2 - 1.25));
  EXPECT_FALSE(line.quality.has_value());
}

TEST(ChainQuality, ReplacesWhatWasMeasuredAndKeepsTheRest) {
  ChainManifest manifest;
  manifest.plans.push_back({.plan = 1, .kl = 0.25, .perplexity_ratio = 1.5, .quality = 0.1});
  manifest.plans.back().scores = {{"made", 1}, {"other", 2}};
  Made made(DataKind::kQa);
  made.add("a", 0, {{"exact_match", 1}, {"f1", 1}}, {{"exact_match", 0}, {"f1", 0.5}});
  const FileSummary summary = made.summary();
  const auto lines = headlines({&summary, 1}, std::vector<int>{0, 1});
  add_quality(manifest, lines, {&summary, 1}, "a test");
  ASSERT_EQ(manifest.plans.size(), 2u);
  EXPECT_EQ(manifest.plans[0].plan, 0);
  EXPECT_EQ(manifest.plans[0].quality, 1);
  EXPECT_FALSE(manifest.plans[0].kl.has_value());
  EXPECT_EQ(manifest.plans[1].quality, 0.5);
  EXPECT_EQ(manifest.plans[1].kl, 0.25);
  EXPECT_EQ(manifest.plans[1].scores["other"], 2);
  EXPECT_EQ(manifest.plans[1].scores["made"]["f1"]["ratio"], 0.5);
  EXPECT_EQ(manifest.plans[1].scores["made"]["measured_by"], "a test");
}

TEST(Summary, HasNoQualityWherePlan0ScoresNothing) {
  Made made(DataKind::kQa);
  made.add("a", 0, {{"exact_match", 0}, {"f1", 0}}, {{"exact_match", 1}, {"f1", 1}});
  const FileSummary summary = made.summary();
  EXPECT_FALSE(headlines({&summary, 1}, std::vector<int>{0, 1})[1].quality.has_value());
  EXPECT_TRUE(to_json(summary)["plans"][1]["f1"]["ratio"].is_null());
}

}  // namespace
}  // namespace dslad::worker
