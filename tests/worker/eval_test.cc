// Likelihoods against plain computations, generated scores whatever the batch, and resuming.
#include <cmath>
#include <gmock/gmock.h>

#include "tests/worker/engine_world.h"
#include "tests/worker/test_files.h"
#include "worker/eval/choices.h"
#include "worker/eval/generation.h"
#include "worker/eval/perplexity.h"
#include "worker/eval/summary_report.h"
#include "worker/eval/text_windows.h"

namespace dslad::worker {
namespace {

using ::testing::ElementsAre;

constexpr int kConverted = 3;  // layers that have a converted form
const char* const kStory =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, "
    "she saw "
    "a big, red ball. She wanted to play with it, but it was too high. Lily's mom said, \"Lily, let's go to "
    "the "
    "park.\" Lily was sad and didn't know what to do. She asked her friend Tom to help. Tom climbed the tree "
    "and "
    "gave her the ball. They played together all day, and then they went home to sleep.";

// The trained stories model, in float32.
class EvalTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto loaded = ModelFolder::load(golden("stories260K"), kernels::WeightFormat::kF32);
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    model_ = std::make_unique<ModelFolder>(*std::move(loaded));
  }
  static void TearDownTestSuite() { model_.reset(); }

  static const ModelFolder& model() { return *model_; }
  static PlanSet plans() { return undistilled_plans(*model().weights, kConverted); }
  std::unique_ptr<TokenScorer> scorer(std::size_t cache_bytes = std::size_t{64} << 20) {
    auto made = TokenScorer::create(*backend_, model().weights, plans(), cache_bytes);
    EXPECT_TRUE(made.ok()) << made.error().message;
    return *std::move(made);
  }

  static std::vector<TokenId> story_ids() {
    PromptText text;
    text.head.text = kStory;
    auto ids = encode_head(*model().tokenizer, text);
    EXPECT_TRUE(ids.ok());
    return *ids;
  }

  // log p of every token of the vocabulary after each token of `ids`, the model run token by token.
  std::vector<std::vector<double>> plain_log_p(std::span<const TokenId> ids, int plan) {
    const auto kv = kv_layout(model().weights->config, kernels::DType::kF32);
    auto caches = CachePool::create(*backend_, kv, std::size_t{16} << 20);
    EXPECT_TRUE(caches.ok());
    Forward forward(*backend_, model().weights, **caches);
    const auto cache = (*caches)->allocate(plans().plan(plan), std::ssize(ids));
    std::vector<std::vector<double>> rows;
    for (std::size_t t = 0; t < ids.size(); ++t) {
      const StepSequence step{&*cache, static_cast<std::int64_t>(t), ids.subspan(t, 1),
                              kernels::RowKind::kDecode, LogitRows::kLast};
      EXPECT_TRUE(forward.run({&step, 1}).ok());
      std::vector<double> row(forward.logits(0).begin(), forward.logits(0).end());
      double sum = 0;
      for (const double logit : row) sum += std::exp(logit);
      for (double& logit : row) logit -= std::log(sum);
      rows.push_back(std::move(row));
    }
    return rows;
  }

  static EvalData data(const std::string& name, const std::string& bytes) {
    auto parsed = parse_eval_data(bytes, name);
    EXPECT_TRUE(parsed.ok()) << parsed.error().message;
    return *std::move(parsed);
  }
  static EvalData questions() {
    std::string lines;
    for (const char* const name : {"Tom", "Lily", "Sam"}) {
      lines += nlohmann::json{{"id", name},
                              {"task", "qa"},
                              {"document", std::string(name) + " had a red ball. " + kStory},
                              {"items",
                               {{{"question", "Who had it?"}, {"answers", {name}}, {"kind", "early"}},
                                {{"question", "What colour is the ball?"},
                                 {"answers", {"red", "a red one"}},
                                 {"kind", "late"}},
                                {{"question", "When?"}, {"answers", nlohmann::json::array()}}}}}
                   .dump();
      lines += '\n';
    }
    return data("questions.jsonl", lines);
  }
  static EvalSettings settings(std::vector<int> plans) {
    EvalSettings settings;
    settings.plans = std::move(plans);
    settings.max_tokens = 12;
    settings.window = 64;
    settings.stride = 40;
    return settings;
  }
  // With `sequences` that may run at once.
  static EvaluatedFile generate(const EvalData& data, const EvalSettings& settings, ResultsLog& log,
                                int sequences = 64) {
    const auto engine = engine_over(model().weights, {.max_sequences = sequences});
    auto evaluated = score_generated(model(), plans(), *engine, data, settings, log);
    EXPECT_TRUE(evaluated.ok()) << evaluated.error().message;
    return *std::move(evaluated);
  }

  std::unique_ptr<kernels::Backend> backend_ = kernels::make_cpu_backend(2);

 private:
  static std::unique_ptr<ModelFolder> model_;
};

std::unique_ptr<ModelFolder> EvalTest::model_;

TEST(Distribution, IsTheSoftmaxOfItsLogits) {
  const std::vector<float> logits = {1.5f, -2, 100, 98.5f}, other = {0, 0, 1, 100};
  const Distribution p(logits), q(other);
  const double log_sum = 100 + std::log(1 + std::exp(-1.5) + std::exp(-98.5) + std::exp(-102.0));
  EXPECT_NEAR(p.log_p(2), 100 - log_sum, 1e-6);
  EXPECT_NEAR(p.log_p(1), -2 - log_sum, 1e-5);
  EXPECT_EQ(p.kl(p), 0);
  EXPECT_EQ(p.kl(Distribution(std::vector<float>(logits))), 0);
  EXPECT_GT(p.kl(q), 70);
}

TEST(TextWindows, ScoreEachTokenOnce) {
  EXPECT_THAT(cut_windows(5, 8, 4), ElementsAre(TextWindow{0, 5, 0}));
  EXPECT_THAT(cut_windows(10, 4, 3),
              ElementsAre(TextWindow{0, 4, 0}, TextWindow{3, 7, 4}, TextWindow{6, 10, 7}));
  EXPECT_THAT(cut_windows(9, 4, 4),
              ElementsAre(TextWindow{0, 4, 0}, TextWindow{4, 8, 4}, TextWindow{8, 9, 8}));
}

TEST_F(EvalTest, TokensAreAsLikelyAsComputedPlainly) {
  const auto ids = story_ids();
  ASSERT_GT(std::ssize(ids), kernels::kPieceRows + 2);  // more than a piece
  const std::vector<int> plans = {0, 2, kConverted};
  for (const std::size_t first : {std::size_t{1}, std::size_t{100}, ids.size() - 1}) {
    const auto sums = scorer()->score(ids, first, plans);
    ASSERT_TRUE(sums.ok()) << sums.error().message;
    const auto teacher = plain_log_p(ids, 0);
    for (std::size_t i = 0; i < plans.size(); ++i) {
      const auto student = plain_log_p(ids, plans[i]);
      double nats = 0, kl = 0;
      for (std::size_t t = first; t < ids.size(); ++t) {
        nats -= student[t - 1][static_cast<std::size_t>(ids[t])];
        for (std::size_t v = 0; v < teacher[t - 1].size(); ++v) {
          kl += std::exp(teacher[t - 1][v]) * (teacher[t - 1][v] - student[t - 1][v]);
        }
      }
      EXPECT_NEAR((*sums)[i].nats, nats, 1e-4 * nats + 1e-4) << "plan " << plans[i] << " from " << first;
      EXPECT_NEAR((*sums)[i].kl, kl, 1e-3 * kl + 1e-4) << "plan " << plans[i] << " from " << first;
    }
    EXPECT_EQ((*sums)[0].kl, 0);
    EXPECT_GT((*sums)[1].kl, 0);
  }
}

TEST_F(EvalTest, PlansThatDoNotFitTogetherRunInTurn) {
  const auto ids = story_ids();
  const std::vector<int> plans = {0, 1, 2, kConverted};
  const auto together = scorer()->score(ids, 1, plans);
  const auto in_turn = scorer(std::size_t{512} << 10)->score(ids, 1, plans);
  ASSERT_TRUE(together.ok());
  ASSERT_TRUE(in_turn.ok()) << in_turn.error().message;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    EXPECT_EQ((*together)[i].nats, (*in_turn)[i].nats);
    EXPECT_EQ((*together)[i].kl, (*in_turn)[i].kl);
  }
  const auto refused = scorer(std::size_t{64} << 10)->score(ids, 1, plans);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
}

TEST_F(EvalTest, PerplexityCountsEachTokenOnce) {
  const auto scorer_of_plans = scorer();
  ResultsLog log;
  const auto evaluated = score_text(model(), *scorer_of_plans, data("story.txt", kStory), settings({0}), log);
  ASSERT_TRUE(evaluated.ok()) << evaluated.error().message;
  double scored = 0;
  for (const ItemKey& item : evaluated->items) scored += log.find(item, 0)->weight;
  EXPECT_EQ(scored, std::ssize(story_ids()) - 1);  // all but bos
  EXPECT_GT(evaluated->items.size(), 2u);
}

TEST_F(EvalTest, OfManyTextsInOneFileEachBeginsByItself) {
  const auto scorer_of_plans = scorer();
  const auto nats_of = [&](const EvalData& text) {
    ResultsLog log;
    const auto evaluated = score_text(model(), *scorer_of_plans, text, settings({0}), log);
    EXPECT_TRUE(evaluated.ok()) << evaluated.error().message;
    double nats = 0;
    for (const ItemKey& item : evaluated->items) {
      const ScoreRecord* record = log.find(item, 0);
      nats += record->weight * record->scores.at("nats");
    }
    return nats;
  };
  const std::string other = "Lily had a red ball.";
  const std::string lines = nlohmann::json{{"id", "a"}, {"task", "text"}, {"document", kStory}}.dump() +
                            "\n" + nlohmann::json{{"id", "b"}, {"task", "text"}, {"document", other}}.dump();
  const double apart = nats_of(data("story.txt", kStory)) + nats_of(data("other.txt", other));
  EXPECT_NEAR(nats_of(data("texts.jsonl", lines)), apart, 1e-9 * apart);
}

TEST_F(EvalTest, PerplexityOfOneWindowIsThatOfThePlainComputation) {
  const auto ids = story_ids();
  const auto rows = plain_log_p(ids, 0);
  double nats = 0;
  for (std::size_t t = 1; t < ids.size(); ++t) nats -= rows[t - 1][static_cast<std::size_t>(ids[t])];
  const auto scorer_of_plans = scorer();
  ResultsLog log;
  EvalSettings whole = settings({0});
  whole.window = whole.stride = 0;
  const EvalData text = data("story.txt", kStory);
  const auto evaluated = score_text(model(), *scorer_of_plans, text, whole, log);
  ASSERT_TRUE(evaluated.ok()) << evaluated.error().message;
  ASSERT_EQ(evaluated->items.size(), 1u);
  const FileSummary summary = summarize_file(text, *evaluated, whole.plans, log, 1);
  const double expected = nats / static_cast<double>(ids.size() - 1);
  EXPECT_NEAR(summary.plans[0].scores.at("nats").mean, expected, 1e-5 * expected);
}

TEST_F(EvalTest, RefusesWindowsOutOfRange) {
  const auto scorer_of_plans = scorer();
  for (const auto& [window, stride] : {std::pair(1, 1), {513, 1}, {64, 64}}) {
    EvalSettings wrong = settings({0});
    wrong.window = window;
    wrong.stride = stride;
    ResultsLog log;
    const auto refused = score_text(model(), *scorer_of_plans, data("story.txt", kStory), wrong, log);
    ASSERT_FALSE(refused.ok()) << window;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST_F(EvalTest, TheLikeliestChoiceByBytesIsTheAnswer) {
  const std::string line =
      R"({"id": "a", "question": "Once upon a time, there was a little girl named", "choices": ["Lily", "Xylophon"],)"
      R"( "answer": 0})"
      "\n"
      R"({"id": "b", "question": "She wanted to play with the _ ball.", "choices": ["big red", "qu qz"], "answer": 1})"
      "\n"
      R"({"id": "c", "question": ")" +
      std::string(4000, 'x') + R"(", "choices": ["a", "b"], "answer": 0})";
  const auto scorer_of_plans = scorer();
  ResultsLog log;
  const auto evaluated =
      score_choices(model(), *scorer_of_plans, data("c.jsonl", line), settings({0, 1}), log);
  ASSERT_TRUE(evaluated.ok()) << evaluated.error().message;
  EXPECT_EQ(evaluated->skipped, 1);  // c is longer than the context
  ASSERT_EQ(evaluated->items.size(), 2u);
  EXPECT_EQ(log.find(evaluated->items[0], 0)->scores.at("accuracy"), 1);
  EXPECT_EQ(log.find(evaluated->items[1], 0)->scores.at("accuracy"), 0);
  EXPECT_NE(log.find(evaluated->items[1], 1), nullptr);
}

TEST_F(EvalTest, GeneratedScoresDoNotDependOnTheBatch) {
  const EvalData all = questions();
  ResultsLog together, alone;
  const EvaluatedFile evaluated = generate(all, settings({0, 2}), together);
  ASSERT_EQ(evaluated.items.size(), 9u);
  for (const EvalDocument& document : all.documents) {
    for (const int plan : {0, 2}) {
      EvalData one = all;
      one.documents = {document};
      generate(one, settings({plan}), alone, 1);
    }
  }
  for (const ItemKey& item : evaluated.items) {
    for (const int plan : {0, 2}) {
      ASSERT_NE(alone.find(item, plan), nullptr);
      EXPECT_EQ(to_line(*together.find(item, plan)), to_line(*alone.find(item, plan)));
    }
  }
}

TEST_F(EvalTest, SummariesShareOneJobAndQuestionsOfSummariesAreAsked) {
  const EvalData summaries =
      data("s.jsonl", nlohmann::json{{"id", "a"},
                                     {"task", "summarize"},
                                     {"document", kStory},
                                     {"items",
                                      {{{"summaries", {"Lily plays."}}},
                                       {{"question", "Why?"}, {"summaries", {"x", "y"}}},
                                       {{"summaries", {"Tom helps."}}}}}}
                          .dump());
  ResultsLog log;
  const EvaluatedFile evaluated = generate(summaries, settings({0}), log);
  ASSERT_EQ(evaluated.items.size(), 3u);
  EXPECT_EQ(log.find(evaluated.items[0], 0)->text, log.find(evaluated.items[2], 0)->text);
  EXPECT_NE(log.find(evaluated.items[0], 0)->text, log.find(evaluated.items[1], 0)->text);
  EXPECT_TRUE(log.find(evaluated.items[1], 0)->scores.contains("rougeL"));
}

TEST_F(EvalTest, WhatTheContextDoesNotHoldIsSkippedAndCounted) {
  EvalData some = questions();
  std::string longest;
  for (int i = 0; i < 8; ++i) longest += kStory;
  some.documents[1].document = longest;
  some.documents[2].items[1].question = longest;
  ResultsLog log;
  const EvaluatedFile evaluated = generate(some, settings({0, 1}), log);
  EXPECT_EQ(evaluated.items.size(), 5u);
  EXPECT_EQ(evaluated.skipped, 4);
}

TEST_F(EvalTest, TheLimitCountsItems) {
  EvalSettings few = settings({0});
  few.limit = 4;
  ResultsLog log;
  EXPECT_EQ(generate(questions(), few, log).items.size(), 4u);
}

const ResultsLog::Facts kFacts = {{"model", "aa"}, {"dtype", "f32"}};

TEST_F(EvalTest, AResumedRunGivesTheSameSummary) {
  const testing::TempDir dir;
  const auto path = dir.path() / "results.jsonl";
  const EvalData all = questions();
  const EvalSettings plans = settings({0, 2});
  const auto run = [&](bool resume) {
    auto log = ResultsLog::open(path, kFacts, resume);
    EXPECT_TRUE(log.ok()) << log.error().message;
    const EvaluatedFile evaluated = generate(all, plans, *log);
    return to_json(summarize_file(all, evaluated, plans.plans, *log, 1)).dump();
  };
  const std::string whole = run(false);
  const std::string content = testing::read_text(path);
  for (const std::size_t kept :
       {std::size_t{0}, std::size_t{5}, content.size() / 2, content.size() - 1, content.size()}) {
    std::filesystem::resize_file(path, kept);
    EXPECT_EQ(run(true), whole) << "killed after " << kept << " bytes";
    std::ofstream(path) << content;
  }
}

}  // namespace
}  // namespace dslad::worker
