// Jobs to engine requests, tokens to answers.
#include "worker/tasks/job_requests.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

#include "tests/worker/engine_world.h"
#include "tests/worker/test_files.h"

namespace dslad::worker {
namespace {

// The trained stories model, with a prompt template of the test's own.
class JobRequestsTest : public ::testing::Test {
 protected:
  ModelFolder load(const std::string& toml) {
    const auto dir = folder_.path() / std::to_string(++loads_);
    std::filesystem::copy(golden("stories260K"), dir);
    std::ofstream(dir / "dslad.toml") << toml;
    auto model = ModelFolder::load(dir, kernels::WeightFormat::kF32);
    EXPECT_TRUE(model.ok()) << model.error().message;
    return *std::move(model);
  }

  static schema::JobSpec qa(const std::string& document, std::vector<std::string> questions) {
    schema::JobSpec spec;
    spec.task = schema::Task::kQa;
    spec.document = document;
    spec.questions = std::move(questions);
    spec.options.max_tokens = 24;
    return spec;
  }

  // Runs the job through a real engine, whose requests may be `longest` tokens long.
  static JobRequests run_job(const ModelFolder& model, const schema::JobSpec& spec,
                             std::int64_t longest = 1 << 20) {
    struct Sink : EngineSink {
      explicit Sink(JobRequests& asked) : requests(asked) {}
      bool on_token(RequestId id, int tail, std::int32_t token) override {
        return requests.add_token(id, tail, token);
      }
      void on_answer(RequestId id, int tail, AnswerEnd end, double mean_log_p) override {
        requests.end_answer(id, tail, end, mean_log_p);
      }
      void on_progress(RequestId, const RequestProgress&) override {}
      void on_done(RequestId, const RequestProgress&, const RequestTimes&) override {}
      void on_failed(RequestId, const RequestProgress&, const RequestTimes&, const Error& error) override {
        ADD_FAILURE() << error.message;
      }
      JobRequests& requests;
    };
    const auto plan = undistilled_plans(*model.weights).plan(0);
    const auto engine = engine_over(model.weights);
    auto requests = JobRequests::create(model, spec, std::min(longest, engine->longest(*plan)));
    EXPECT_TRUE(requests.ok()) << requests.error().message;
    Sink sink(*requests);
    for (RequestId id = 1; !requests->done();) {
      auto request = requests->next(id);
      EXPECT_TRUE(request.ok()) << request.error().message;
      if (!request.ok()) break;
      if (*request) {
        (*request)->plan = plan;
        EXPECT_TRUE(engine->add(**std::move(request)).ok());
        ++id;
        continue;
      }
      const auto stepped = engine->step(sink);
      EXPECT_TRUE(stepped.ok() && *stepped);
      if (!stepped.ok() || !*stepped) break;
    }
    return *std::move(requests);
  }

  static std::vector<schema::Output> run(const ModelFolder& model, const schema::JobSpec& spec) {
    return run_job(model, spec).outputs();
  }

 private:
  testing::TempDir folder_;
  int loads_ = 0;
};

TEST_F(JobRequestsTest, QuestionsShareTheHeadAndKeepTheirOrder) {
  const auto model = load("[prompt]\nqa = \"{document}\\n{question} \"\n");
  auto requests = JobRequests::create(model, qa("Lily had a red ball.", {"Who had it?", "What colour?"}), 0);
  ASSERT_TRUE(requests.ok());
  const EngineRequest request = **requests->next(7);
  EXPECT_EQ(request.id, 7u);
  EXPECT_FALSE(requests->next(8)->has_value()) << "there is one";
  ASSERT_EQ(request.tails.size(), 2u);
  EXPECT_NE(request.tails[0], request.tails[1]);
}

TEST_F(JobRequestsTest, APlaceholderInsideADocumentIsText) {
  const auto model = load("[prompt]\nqa = \"{document} {question}\"\n");
  auto plain = JobRequests::create(model, qa("A {question} B", {"Q"}), 0);
  ASSERT_TRUE(plain.ok());
  const auto head = (*plain->next(1))->head;
  EXPECT_EQ(model.tokenizer->decode(std::span(head).subspan(1), TextPosition::kBeginning), "A {question} B");
}

TEST_F(JobRequestsTest, AnAnswerEndsBeforeAStopText) {
  const auto free = load("[prompt]\nsummarize = \"{document}\"\n");
  schema::JobSpec spec;
  spec.task = schema::Task::kSummarize;
  spec.document = "Once upon a time";
  spec.options.max_tokens = 40;
  const std::string text = run(free, spec).front().text;
  ASSERT_NE(text.find("Lily"), std::string::npos) << text;

  const auto stopped = load("[prompt]\nsummarize = \"{document}\"\nstop = [\"Lily\"]\n");
  const auto output = run(stopped, spec).front();
  EXPECT_EQ(output.finish_reason, schema::FinishReason::kStop);
  EXPECT_EQ(output.text + " ", text.substr(0, text.find("Lily"))) << "cut before the stop text, then trimmed";
}

TEST_F(JobRequestsTest, WhatIsSettledStays_AndAStopTextIsNeverPartOfIt) {
  const auto model = load("[prompt]\nstop = [\"Lily and\", \"Lily was\", \"!\"]\n");
  schema::JobSpec spec;
  spec.task = schema::Task::kGenerate;
  spec.prompt = "Once upon a time";
  auto requests = JobRequests::create(model, spec, 0);
  ASSERT_TRUE(requests.ok());
  ASSERT_TRUE(requests->next(1)->has_value());
  std::string shown;
  bool ended = false;
  for (const std::string_view piece : {" there", " was", " Lily", " lived", " Lily", " was"}) {
    ASSERT_FALSE(ended);
    const auto ids = model.tokenizer->encode(piece, TextPosition::kContinuation);
    ASSERT_TRUE(ids.ok());
    for (const TokenId id : *ids) {
      ended = !requests->add_token(1, 0, id);
      EXPECT_EQ(requests->settled(0).substr(0, shown.size()), shown) << "it only grows";
      shown = requests->settled(0);
      if (ended) break;
    }
  }
  EXPECT_TRUE(ended);
  EXPECT_EQ(shown, " there was Lily lived ");
  requests->end_answer(1, 0, AnswerEnd::kStop, 0);
  EXPECT_EQ(requests->outputs().front().text, shown) << "what is shown is what is kept";
}

TEST_F(JobRequestsTest, TheNameOfAControlTokenAsAStopText_EndsAnAnswer) {
  const auto model = load("[prompt]\nstop = [\"<s>\"]\n");
  auto requests = JobRequests::create(model, qa("Lily had a red ball.", {"Who?"}), 0);
  ASSERT_TRUE(requests.ok());
  EXPECT_EQ((*requests->next(1))->ends, (std::vector<TokenId>{2, 1})) << "eos, then bos";
}

TEST_F(JobRequestsTest, AnAnswerEndsAtTheRequestsOwnEnds) {
  const auto model = load("");
  const auto answer = [&](std::vector<TokenId> ends) {
    auto request = continuation(1, {1, 9038, 2501}, 8, undistilled_plans(*model.weights).plan(0));
    for (TokenId& id : request.head) id %= static_cast<TokenId>(model.weights->config.vocab_size);
    request.ends = std::move(ends);
    const auto engine = engine_over(model.weights);
    Collector sink;
    EXPECT_TRUE(engine->add(std::move(request)).ok());
    run_to_end(*engine, sink);
    return sink.answers[{1, 0}];
  };
  const std::vector<TokenId> whole = answer({});
  ASSERT_EQ(whole.size(), 8u);
  const auto end = std::ranges::find(whole, whole[5]);
  EXPECT_EQ(answer({whole[5]}), std::vector<TokenId>(whole.begin(), end));
}

TEST_F(JobRequestsTest, ALengthEndIsReportedWithItsTokens) {
  const auto model = load("");
  const auto outputs = run(model, qa("Lily had a red ball.", {"Who?"}));
  EXPECT_EQ(outputs.front().finish_reason, schema::FinishReason::kLength);
  EXPECT_EQ(outputs.front().output_tokens, 24u);
}

TEST_F(JobRequestsTest, TextThatIsNoUtf8IsRefused) {
  const auto model = load("");
  const auto requests = JobRequests::create(model, qa("bad \xff byte", {"Who?"}), 0);
  ASSERT_FALSE(requests.ok());
  EXPECT_EQ(requests.error().code, ErrorCode::kInvalidArgument);
}

// Documents beyond the context. Each sentence names itself, so that a test sees where an answer comes from.
class OverflowTest : public JobRequestsTest {
 protected:
  static schema::JobSpec job(schema::Task kind, schema::Overflow overflow, int sentences = 60) {
    schema::JobSpec spec = qa("", {"Who had it?", "Where was the ball?"});
    spec.task = kind;
    if (kind == schema::Task::kSummarize) spec.questions.clear();
    for (int i = 0; i < sentences; ++i)
      spec.document += "Lily had a ball and Tom had a car. They were happy.\n\n";
    spec.overflow = overflow;
    spec.options.max_tokens = 20;
    return spec;
  }

  static constexpr std::int64_t kLongest = 200;
};

TEST_F(OverflowTest, ADocumentThatFitsIsReadWhole) {
  const auto model = load("");
  for (const auto overflow : {schema::Overflow::kTruncate, schema::Overflow::kMapReduce}) {
    const auto whole = run_job(model, job(schema::Task::kQa, schema::Overflow::kError, 4), 512);
    const auto requests = run_job(model, job(schema::Task::kQa, overflow, 4), 512);
    EXPECT_EQ(requests.document_parts(), 0u);
    EXPECT_EQ(requests.cut_tokens(), 0u);
    ASSERT_EQ(requests.outputs().size(), 2u);
    for (std::size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(requests.outputs()[i].text, whole.outputs()[i].text);
      EXPECT_EQ(requests.outputs()[i].part, 0u);
    }
  }
}

TEST_F(OverflowTest, Error_LeavesItToTheEngineToRefuse) {
  const auto model = load("");
  auto requests =
      JobRequests::create(model, job(schema::Task::kSummarize, schema::Overflow::kError), kLongest);
  ASSERT_TRUE(requests.ok());
  EXPECT_GT((*requests->next(1))->head.size(), 512u);
}

TEST_F(OverflowTest, Truncate_LeavesOutTheMiddle_AndSaysHowMuch) {
  const auto model = load("");
  auto whole = JobRequests::create(model, job(schema::Task::kQa, schema::Overflow::kError), kLongest);
  auto requests = JobRequests::create(model, job(schema::Task::kQa, schema::Overflow::kTruncate), kLongest);
  ASSERT_TRUE(whole.ok() && requests.ok());
  const std::size_t all = (*whole->next(1))->head.size();
  const EngineRequest request = **requests->next(1);
  EXPECT_EQ(request.head.size() + requests->cut_tokens(), all);
  EXPECT_LE(std::ssize(request.head) + std::ssize(request.tails[1]) + request.max_tokens, kLongest);
  EXPECT_EQ(request.max_tokens, 20);
  const std::string text =
      model.tokenizer->decode(std::span(request.head).subspan(1), TextPosition::kBeginning);
  EXPECT_NE(text.find("[...]"), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with("They were happy.\n\n")) << text;
  EXPECT_EQ(run_job(model, job(schema::Task::kQa, schema::Overflow::kTruncate), kLongest).outputs().size(),
            2u);
}

TEST_F(OverflowTest, Questions_AreAskedOfEachPart_AndTheLikeliestAnswerCounts) {
  const auto model = load("");
  const schema::JobSpec spec = job(schema::Task::kQa, schema::Overflow::kMapReduce);
  auto asked = JobRequests::create(model, spec, kLongest);
  ASSERT_TRUE(asked.ok());
  const std::uint32_t parts = asked->document_parts();
  ASSERT_GT(parts, 5u);
  std::vector<EngineRequest> requests;
  while (auto request = *asked->next(requests.size() + 1)) requests.push_back(*std::move(request));
  ASSERT_EQ(requests.size(), parts);
  EXPECT_EQ(asked->tokens_to_come(), 0);
  // The third part is the surest of the first question, the first of the second; one has nothing to say.
  const auto words = *model.tokenizer->encode("ball", TextPosition::kContinuation);
  for (std::size_t i = requests.size(); i > 0; --i) {
    EXPECT_TRUE(requests[i - 1].likelihoods);
    EXPECT_LE(std::ssize(requests[i - 1].head), kLongest);
    EXPECT_FALSE(asked->done());
    for (const int tail : {1, 0}) {
      const bool silent = i == 4;
      if (!silent) asked->add_token(i, tail, words.front());
      asked->end_answer(i, tail, AnswerEnd::kStop,
                        silent                ? 0
                        : tail == 0 && i == 3 ? -0.1
                        : tail == 1 && i == 1 ? -0.2
                                              : -1);
    }
  }
  ASSERT_TRUE(asked->done());
  EXPECT_EQ(asked->outputs()[0].part, 3u);
  EXPECT_EQ(asked->outputs()[1].part, 1u);
  EXPECT_FALSE(asked->next(100)->has_value());

  const JobRequests answered = run_job(model, spec, kLongest);
  EXPECT_EQ(answered.document_parts(), parts);
  for (const schema::Output& output : answered.outputs()) EXPECT_GE(output.part, 1u);
}

TEST_F(OverflowTest, Summaries_AreSummarizedUntilOneIsLeft) {
  const auto model = load("");
  schema::JobSpec spec = job(schema::Task::kSummarize, schema::Overflow::kMapReduce, 200);
  auto requests = JobRequests::create(model, spec, kLongest);
  ASSERT_TRUE(requests.ok());
  std::vector<std::size_t> stages;
  RequestId id = 0;
  const auto words = *model.tokenizer->encode("a ball", TextPosition::kContinuation);
  while (!requests->done()) {
    std::vector<RequestId> given;
    while (auto request = *requests->next(id + 1)) {
      EXPECT_LE(std::ssize(request->head) + std::ssize(request->tails[0]) + request->max_tokens, kLongest);
      EXPECT_FALSE(request->likelihoods);
      given.push_back(++id);
    }
    ASSERT_FALSE(given.empty());
    stages.push_back(given.size());
    for (const RequestId one : given) {
      for (int i = 0; i < 20; ++i)
        requests->add_token(one, 0, words[static_cast<std::size_t>(i) % words.size()]);
      requests->end_answer(one, 0, AnswerEnd::kLength, 0);
    }
  }
  EXPECT_GE(stages.size(), 3u);
  EXPECT_EQ(stages.front(), requests->document_parts());
  EXPECT_EQ(stages.back(), 1u);
  EXPECT_TRUE(std::ranges::is_sorted(stages, std::greater<>{}));
  ASSERT_EQ(requests->outputs().size(), 1u);
  EXPECT_EQ(requests->outputs()[0].part, 0u);

  const JobRequests summarized = run_job(model, spec, kLongest);
  EXPECT_FALSE(summarized.outputs()[0].text.empty());
}

TEST_F(OverflowTest, PartsThatSayNothing_GiveAnEmptySummary) {
  const auto model = load("");
  auto requests =
      JobRequests::create(model, job(schema::Task::kSummarize, schema::Overflow::kMapReduce), kLongest);
  ASSERT_TRUE(requests.ok());
  RequestId id = 0;
  while (*requests->next(id + 1)) ++id;
  for (RequestId one = 1; one <= id; ++one) requests->end_answer(one, 0, AnswerEnd::kStop, 0);
  ASSERT_TRUE(requests->done());
  EXPECT_EQ(requests->outputs()[0].text, "");
}

TEST_F(OverflowTest, AQuestionThatLeavesNoRoomForTheDocumentIsRefused) {
  const auto model = load("");
  for (const auto overflow : {schema::Overflow::kTruncate, schema::Overflow::kMapReduce}) {
    schema::JobSpec spec = job(schema::Task::kQa, overflow);
    for (int i = 0; i < 40; ++i) spec.questions[1] += " Where is the ball?";
    const auto requests = JobRequests::create(model, spec, kLongest);
    ASSERT_FALSE(requests.ok());
    EXPECT_EQ(requests.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(requests.error().message.find("context"), std::string::npos) << requests.error().message;
  }
}

TEST(ModelFolder, NamesAFolderThatIsMissing) {
  const auto model = ModelFolder::load("/nonexistent/llama", kernels::WeightFormat::kF32);
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.error().message.find("/nonexistent/llama"), std::string::npos);
}

}  // namespace
}  // namespace dslad::worker
