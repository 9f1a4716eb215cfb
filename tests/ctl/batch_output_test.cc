// Files of results: what a death at any moment leaves of them, and what is let alone.
#include "ctl/batch_output.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "ctl/batch_line.h"
#include "ctl/batch_sink.h"

namespace dslad::ctl {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

const std::string kBatch = "batch_0123456789abcdef01234567";
const std::string kOther = "batch_0123456789abcdef0123456f";

schema::JobResult result_of(schema::JobId id, const std::string& custom_id,
                            std::vector<std::string> labels = {},
                            schema::JobState state = schema::JobState::kSucceeded) {
  schema::JobResult result;
  result.job.id = id;
  result.job.custom_id = custom_id;
  result.job.labels = std::move(labels);
  result.job.task = schema::Task::kGenerate;
  result.job.state = state;
  result.job.ended_ms = 1'700'000'000'123;
  if (state == schema::JobState::kSucceeded) {
    result.outputs = {{std::nullopt, "a \"text\"\n", schema::FinishReason::kLength, 4}};
    result.metrics.prompt_tokens = 3;
    result.metrics.output_tokens = 4;
    result.metrics.model = "tiny";
    result.metrics.plan = 3;
    result.metrics.quality = 0.875;
    result.metrics.edition = "e1";
    result.metrics.why = "the queue is long";
  } else if (state == schema::JobState::kFailed) {
    result.job.error = invalid_argument("too long");
  }
  return result;
}

class Outputs : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static BatchSink open(const std::string& output, const std::string& errors = "") {
    Result<BatchSink> sink = BatchSink::open(kBatch, output, errors);
    if (!sink) throw std::runtime_error(sink.error().message);
    return std::move(sink).value();
  }
  static std::string refusal(const std::string& output, const std::string& errors = "") {
    const Result<BatchSink> sink = BatchSink::open(kBatch, output, errors);
    return sink ? "" : sink.error().message;
  }
  static void write(const std::string& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  }
  static std::string text(const std::string& path) {
    std::ostringstream all;
    all << std::ifstream(path, std::ios::binary).rdbuf();
    return all.str();
  }
  // The custom_ids of all lines, each of which must be whole.
  static std::vector<std::string> ids(const std::string& path) {
    std::vector<std::string> found;
    std::istringstream lines(text(path));
    for (std::string line; std::getline(lines, line);) {
      const auto json = nlohmann::json::parse(line);
      found.push_back(json["custom_id"].is_null() ? "null" : json["custom_id"].get<std::string>());
    }
    return found;
  }

  std::filesystem::path folder_ = std::filesystem::path(testing::TempDir()) / "dslad_batch_output_test";
  std::string out_ = folder_ / "out.jsonl";
  std::string err_ = folder_ / "err.jsonl";
};

TEST_F(Outputs, OpenAiLinesHaveTheFormOfTheirInterface) {
  const auto chat = nlohmann::json::parse(result_line(kBatch, result_of(7, "a", {kBatch, "openai:chat"})));
  EXPECT_EQ(chat["custom_id"], "a");
  EXPECT_EQ(chat["id"], kBatch + "-7");
  EXPECT_EQ(chat["response"]["status_code"], 200);
  EXPECT_TRUE(chat["error"].is_null());
  const auto& body = chat["response"]["body"];
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["created"], 1'700'000'000);
  EXPECT_EQ(body["choices"][0]["message"]["content"], "a \"text\"\n");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(body["usage"]["total_tokens"], 7);
  EXPECT_EQ(body["dslad"],
            nlohmann::json::parse(R"({"plan":3,"quality":0.875,"edition":"e1","why":"the queue is long"})"));
  const auto text = nlohmann::json::parse(result_line(kBatch, result_of(8, "b", {"openai:completion"})));
  EXPECT_EQ(text["response"]["body"]["choices"][0]["text"], "a \"text\"\n");
  const auto failed = nlohmann::json::parse(
      result_line(kBatch, result_of(9, "c", {"openai:chat"}, schema::JobState::kFailed)));
  EXPECT_TRUE(failed["response"].is_null());
  EXPECT_EQ(failed["error"]["code"], "invalid_argument");
  const auto native = nlohmann::json::parse(result_line(kBatch, result_of(10, "d")));
  EXPECT_EQ(native["state"], "succeeded");
  EXPECT_EQ(native["outputs"][0]["output_tokens"], 4);
}

TEST_F(Outputs, WhatIsThereIsNotWrittenAgain) {
  for (int round = 0; round < 3; ++round) {
    BatchSink sink = open(out_, err_);
    EXPECT_EQ(sink.has_job("a"), round > 0);
    ASSERT_TRUE(sink.add_result(result_of(1, "a")));
    ASSERT_TRUE(sink.add_result(result_of(2, "b", {"openai:chat"}, schema::JobState::kExpired)));
    ASSERT_TRUE(sink.add_bad_row(3, "a", invalid_argument("twice")));
    ASSERT_TRUE(sink.add_bad_row(4, "", invalid_argument("no JSON")));
    ASSERT_TRUE(sink.sync());
  }
  EXPECT_THAT(ids(out_), ElementsAre("a"));
  EXPECT_THAT(ids(err_), ElementsAre("b", "a", "null"));
}

TEST_F(Outputs, WithoutAFileForErrorsTheyGoToTheOutput) {
  BatchSink sink = open(out_);
  ASSERT_TRUE(sink.add_result(result_of(1, "a")));
  ASSERT_TRUE(sink.add_result(result_of(2, "b", {}, schema::JobState::kFailed)));
  ASSERT_TRUE(sink.sync());
  EXPECT_THAT(ids(out_), ElementsAre("a", "b"));
}

TEST_F(Outputs, FileThatWasCutAnywhereIsMadeWholeAgain) {
  {
    BatchSink sink = open(out_);
    for (int i = 0; i < 4; ++i)
      ASSERT_TRUE(sink.add_result(
          result_of(i + 1, std::string(1, static_cast<char>('a' + i)),
                    i % 2 == 0 ? std::vector<std::string>{"openai:chat"} : std::vector<std::string>{})));
    ASSERT_TRUE(sink.sync());
  }
  const std::string whole = text(out_);
  for (std::size_t length = 0; length <= whole.size(); length += 1 + length % 7) {
    const std::string tail = length % 3 == 0 ? std::string(5, '\0') : "";  // a block that was never written
    write(out_, whole.substr(0, length) + (length == 0 ? "" : tail));
    BatchSink sink = open(out_);
    for (int i = 0; i < 4; ++i)
      ASSERT_TRUE(sink.add_result(
          result_of(i + 1, std::string(1, static_cast<char>('a' + i)),
                    i % 2 == 0 ? std::vector<std::string>{"openai:chat"} : std::vector<std::string>{})));
    ASSERT_TRUE(sink.sync());
    ASSERT_EQ(text(out_), whole) << length;
  }
}

TEST_F(Outputs, SecondWriterIsRefusedUntilTheFirstIsGone) {
  {
    const BatchSink first = open(out_);
    EXPECT_THAT(refusal(out_), HasSubstr("is being written by another dslactl"));
  }
  EXPECT_EQ(refusal(out_), "");
}

TEST_F(Outputs, FilesOfSomethingElseAreLeftAlone) {
  const std::string other = result_line(kOther, result_of(1, "a", {"openai:chat"}));
  for (const std::string& content :
       {other, std::string("{\"custom_id\":\"a\"}\n"), std::string("my notes"),
        std::string("\x7F"
                    "ELF\0\0",
                    6),
        std::string("{ \"a\": 1 }"), result_line(kBatch, result_of(1, "a")) + "{}\n"}) {
    write(out_, content);
    EXPECT_THAT(refusal(out_), HasSubstr("name another file")) << content;
    EXPECT_EQ(text(out_), content);
  }
  EXPECT_THAT(refusal("/dev/null"), HasSubstr("no regular file"));
  EXPECT_THAT(refusal(folder_), HasSubstr("cannot write"));
  EXPECT_THAT(refusal(out_, out_), HasSubstr("one file"));
}

TEST_F(Outputs, FailuresAreForgottenForJobsThatRunAgain) {
  BatchSink sink = open(out_);
  ASSERT_TRUE(sink.add_result(result_of(1, "a")));
  ASSERT_TRUE(sink.add_result(result_of(2, "b", {}, schema::JobState::kFailed)));
  ASSERT_TRUE(sink.add_result(result_of(3, "c", {"openai:chat"}, schema::JobState::kCancelled)));
  ASSERT_TRUE(sink.add_bad_row(9, "", invalid_argument("no JSON")));
  ASSERT_TRUE(sink.forget_failures());
  EXPECT_THAT(ids(out_), UnorderedElementsAre("a", "null"));
  EXPECT_FALSE(sink.has_job("b"));
  EXPECT_THAT(refusal(out_), HasSubstr("another dslactl")) << "the new file is locked, too";
  ASSERT_TRUE(sink.add_result(result_of(2, "b")));
  ASSERT_TRUE(sink.sync());
  EXPECT_THAT(ids(out_), UnorderedElementsAre("a", "null", "b"));
}

}  // namespace
}  // namespace dslad::ctl
