// Jobs to engine requests, tokens to answers.
#include "worker/tasks/task.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

#include "tests/worker/engine_world.h"
#include "tests/worker/test_files.h"

namespace dslad::worker {
namespace {

// The trained stories model, with a prompt template of the test's own.
class TaskTest : public ::testing::Test {
 protected:
  ModelFolder load(const std::string& toml) {
    const auto dir = folder_.path() / std::to_string(++loads_);
    std::filesystem::copy(golden("stories260K"), dir);
    std::ofstream(dir / "dslad.toml") << toml;
    auto model = ModelFolder::load(dir, kernels::DType::kF32);
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

  // Runs the task through a real engine.
  static std::vector<schema::Output> run(const ModelFolder& model, const schema::JobSpec& spec) {
    struct Sink : EngineSink {
      explicit Sink(Task& t) : task(t) {}
      bool on_token(RequestId, int tail, std::int32_t token) override { return task.add_token(tail, token); }
      void on_answer(RequestId, int tail, AnswerEnd end) override { task.end_answer(tail, end); }
      void on_progress(RequestId, const RequestProgress&) override {}
      void on_done(RequestId, const RequestProgress&, const RequestTimes&) override {}
      void on_failed(RequestId, const RequestProgress&, const RequestTimes&, const Error& error) override {
        ADD_FAILURE() << error.message;
      }
      Task& task;
    };
    auto task = Task::create(model, spec, 1, undistilled_plans(*model.weights).plan(0));
    EXPECT_TRUE(task.ok());
    const auto engine = engine_over(model.weights);
    EXPECT_TRUE(engine->add(task->take_request()).ok());
    Sink sink(*task);
    for (;;) {
      const auto stepped = engine->step(sink);
      EXPECT_TRUE(stepped.ok());
      if (!stepped.ok() || !*stepped) return task->outputs();
    }
  }

 private:
  testing::TempDir folder_;
  int loads_ = 0;
};

TEST_F(TaskTest, QuestionsShareTheHeadAndKeepTheirOrder) {
  const auto model = load("[prompt]\nqa = \"{document}\\n{question} \"\n");
  const auto plan = undistilled_plans(*model.weights, 3).plan(3);
  auto task = Task::create(model, qa("Lily had a red ball.", {"Who had it?", "What colour?"}), 7, plan);
  ASSERT_TRUE(task.ok());
  const EngineRequest request = task->take_request();
  EXPECT_EQ(request.id, 7u);
  EXPECT_EQ(request.plan, plan);
  ASSERT_EQ(request.tails.size(), 2u);
  EXPECT_NE(request.tails[0], request.tails[1]);
  EXPECT_EQ(task->outputs().size(), 2u);
}

TEST_F(TaskTest, APlaceholderInsideADocumentIsText) {
  const auto model = load("[prompt]\nqa = \"{document} {question}\"\n");
  auto plain = Task::create(model, qa("A {question} B", {"Q"}), 1, nullptr);
  ASSERT_TRUE(plain.ok());
  const auto head = plain->take_request().head;
  EXPECT_EQ(model.tokenizer->decode(std::span(head).subspan(1), TextPosition::kBeginning), "A {question} B");
}

TEST_F(TaskTest, AnAnswerEndsBeforeAStopText) {
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

TEST_F(TaskTest, WhatIsSettledStays_AndAStopTextIsNeverPartOfIt) {
  const auto model = load("[prompt]\nstop = [\"Lily and\", \"Lily was\", \"!\"]\n");
  schema::JobSpec spec;
  spec.task = schema::Task::kGenerate;
  spec.prompt = "Once upon a time";
  auto task = Task::create(model, spec, 1, nullptr);
  ASSERT_TRUE(task.ok());
  std::string shown;
  bool ended = false;
  for (const std::string_view piece : {" there", " was", " Lily", " lived", " Lily", " was"}) {
    ASSERT_FALSE(ended);
    const auto ids = model.tokenizer->encode(piece, TextPosition::kContinuation);
    ASSERT_TRUE(ids.ok());
    for (const TokenId id : *ids) {
      ended = !task->add_token(0, id);
      EXPECT_EQ(task->settled(0).substr(0, shown.size()), shown) << "it only grows";
      shown = task->settled(0);
      if (ended) break;
    }
  }
  EXPECT_TRUE(ended);
  EXPECT_EQ(shown, " there was Lily lived ");
  task->end_answer(0, AnswerEnd::kStop);
  EXPECT_EQ(task->outputs().front().text, shown) << "what is shown is what is kept";
}

TEST_F(TaskTest, TheNameOfAControlTokenAsAStopText_EndsAnAnswer) {
  const auto model = load("[prompt]\nstop = [\"<s>\"]\n");
  auto task = Task::create(model, qa("Lily had a red ball.", {"Who?"}), 1, nullptr);
  ASSERT_TRUE(task.ok());
  EXPECT_EQ(task->take_request().ends, (std::vector<TokenId>{2, 1})) << "eos, then bos";
}

TEST_F(TaskTest, AnAnswerEndsAtTheRequestsOwnEnds) {
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

TEST_F(TaskTest, ALengthEndIsReportedWithItsTokens) {
  const auto model = load("");
  const auto outputs = run(model, qa("Lily had a red ball.", {"Who?"}));
  EXPECT_EQ(outputs.front().finish_reason, schema::FinishReason::kLength);
  EXPECT_EQ(outputs.front().output_tokens, 24u);
}

TEST_F(TaskTest, TextThatIsNoUtf8IsRefused) {
  const auto model = load("");
  const auto task = Task::create(model, qa("bad \xff byte", {"Who?"}), 1, nullptr);
  ASSERT_FALSE(task.ok());
  EXPECT_EQ(task.error().code, ErrorCode::kInvalidArgument);
}

TEST(ModelFolder, NamesAFolderThatIsMissing) {
  const auto model = ModelFolder::load("/nonexistent/llama", kernels::DType::kF32);
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.error().message.find("/nonexistent/llama"), std::string::npos);
}

}  // namespace
}  // namespace dslad::worker
