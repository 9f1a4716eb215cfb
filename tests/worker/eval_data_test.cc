// Files of questions, summaries, choices and text: what is read, and what is said about a wrong line.
#include "worker/eval/eval_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/test_files.h"

namespace dslad::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kQa =
    R"({"id": "a", "task": "qa", "document": "Tom is here.", "items": [)"
    R"({"question": "Who?", "answers": ["Tom", "Tom."], "kind": "early", "evidence": "It was Tom."}, {"question": "When?", "answers": []}]})";
constexpr const char* kChoice = R"({"id": "c", "question": "Is", "choices": ["yes", "no"], "answer": 1})";

std::string error_of(const std::string& bytes, ErrorCode code = ErrorCode::kInvalidArgument) {
  const auto data = parse_eval_data(bytes, "d.jsonl");
  EXPECT_FALSE(data.ok()) << bytes;
  if (data.ok()) return "";
  EXPECT_EQ(data.error().code, code) << data.error().message;
  return data.error().message;
}

TEST(EvalData, ReadsQuestionsWithTheirAnswers) {
  const auto data = parse_eval_data(std::string(kQa) + "\n\n", "d.jsonl");
  ASSERT_TRUE(data.ok()) << data.error().message;
  EXPECT_EQ(data->kind, DataKind::kQa);
  ASSERT_EQ(data->documents.size(), 1u);
  EXPECT_EQ(data->documents[0].document, "Tom is here.");
  ASSERT_EQ(data->documents[0].items.size(), 2u);
  EXPECT_EQ(data->documents[0].items[0].question, "Who?");
  EXPECT_EQ(data->documents[0].items[0].kind, "early");
  EXPECT_EQ(data->documents[0].items[0].evidence, "It was Tom.");
  EXPECT_THAT(data->documents[0].items[0].references, ElementsAre("Tom", "Tom."));
  EXPECT_THAT(data->documents[0].items[1].references, IsEmpty());
}

TEST(EvalData, ReadsSummariesWithAndWithoutAQuestion) {
  const auto data =
      parse_eval_data(R"({"id": "a", "task": "summarize", "document": "D", "items": [{"summaries": ["s"]},)"
                      R"( {"question": "Why?", "summaries": ["t"], "unknown": 1}]})",
                      "d.jsonl");
  ASSERT_TRUE(data.ok()) << data.error().message;
  EXPECT_EQ(data->kind, DataKind::kSummarize);
  EXPECT_FALSE(data->documents[0].items[0].question.has_value());
  EXPECT_EQ(data->documents[0].items[1].question, "Why?");
}

TEST(EvalData, ReadsChoicesWithoutATask) {
  const auto data = parse_eval_data(kChoice, "d.jsonl");
  ASSERT_TRUE(data.ok()) << data.error().message;
  EXPECT_EQ(data->kind, DataKind::kChoice);
  ASSERT_EQ(data->choices.size(), 1u);
  EXPECT_EQ(data->choices[0].answer, 1u);
}

TEST(EvalData, TakesAnythingElseAsText) {
  for (const auto& [name, bytes] : {std::pair("d.txt", "{\"a\": 1}"), std::pair("notes", "Hello {}\n")}) {
    const auto data = parse_eval_data(bytes, name);
    ASSERT_TRUE(data.ok());
    EXPECT_EQ(data->kind, DataKind::kText);
    EXPECT_THAT(data->texts, ElementsAre(bytes));
  }
}

TEST(EvalData, ReadsManyTextsEachByItself) {
  const std::string first = R"({"id": "a", "task": "text", "document": "One.\n{"})";
  const auto data =
      parse_eval_data(first + "\n" + R"({"id": "b", "task": "text", "document": "Two."})", "d.jsonl");
  ASSERT_TRUE(data.ok()) << data.error().message;
  EXPECT_EQ(data->kind, DataKind::kText);
  EXPECT_THAT(data->texts, ElementsAre("One.\n{", "Two."));
  EXPECT_THAT(error_of(first + "\n" + kQa), HasSubstr("line 2: task is \"qa\": must be \"text\" as in"));
  EXPECT_THAT(error_of(R"({"id": "a", "task": "text"})"), HasSubstr("line 1: document is absent"));
}

TEST(EvalData, NamesFileLineAndField) {
  const std::string good = std::string(kQa) + "\n";
  EXPECT_THAT(error_of(good + "{\"id\": \n", ErrorCode::kCorrupt),
              HasSubstr("d.jsonl: line 2: malformed JSON"));
  EXPECT_THAT(error_of(good + kQa), HasSubstr("d.jsonl: line 2: id is \"a\": line 1 has it already"));
  EXPECT_THAT(error_of(good + "[]"), HasSubstr("d.jsonl: line 2: expected a JSON object"));
  EXPECT_THAT(error_of(good + kChoice),
              HasSubstr("d.jsonl: line 2: task is absent: must be \"qa\" as in the file's first line"));
  EXPECT_THAT(error_of(R"({"id": "a", "document": "D"})"), HasSubstr("line 1: task is absent"));
  EXPECT_THAT(error_of(R"({"id": "a", "task": "generate"})"), HasSubstr("line 1: task is \"generate\""));
  EXPECT_THAT(error_of(R"({"id": 7, "task": "qa"})"), HasSubstr("line 1: id is 7: must be a string"));
  EXPECT_THAT(error_of(R"({"id": "a", "task": "qa", "document": ""})"),
              HasSubstr("line 1: document is \"\""));
  EXPECT_THAT(error_of(R"({"id": "a", "task": "qa", "document": "D", "items": []})"),
              HasSubstr("line 1: items is []"));
  EXPECT_THAT(error_of(R"({"id": "a", "task": "qa", "document": "D", "items": [{"answers": []}]})"),
              HasSubstr("line 1: items[0]: question is absent"));
  EXPECT_THAT(
      error_of(R"({"id": "a", "task": "qa", "document": "D", "items": [{"question": "Q", "answers": [1]}]})"),
      HasSubstr("line 1: items[0]: answers is [1]: must be a list of 0 to"));
  EXPECT_THAT(error_of(R"({"id": "a", "task": "summarize", "document": "D", "items": [{"summaries": []}]})"),
              HasSubstr("line 1: items[0]: summaries is []"));
  EXPECT_THAT(error_of(R"({"id": "a", "question": "Q", "choices": ["x"], "answer": 0})"),
              HasSubstr("line 1: choices is [\"x\"]"));
  EXPECT_THAT(error_of(R"({"id": "a", "question": "Q", "choices": ["x", "y"], "answer": 2})"),
              HasSubstr("line 1: answer is 2: must be an integer from 0 to 1"));
}

TEST(EvalData, RefusesTextThatIsNone) {
  const auto blank = parse_eval_data(" \n", "d.txt");
  ASSERT_FALSE(blank.ok());
  EXPECT_THAT(blank.error().message, HasSubstr("d.txt: the file holds no text"));
  const auto malformed = parse_eval_data("ab\xff", "d.txt");
  ASSERT_FALSE(malformed.ok());
  EXPECT_THAT(malformed.error().message, HasSubstr("d.txt: byte 2 is not UTF-8"));
}

TEST(EvalData, SurvivesDamagedLines) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 2000; ++i) {
    const auto data = parse_eval_data(testing::mutate(std::string(kQa) + "\n" + kChoice, random), "d.jsonl");
    if (!data.ok()) {
      EXPECT_THAT(data.error().message, HasSubstr("d.jsonl"));
    }
  }
}

TEST(EvalData, ReadsTheDevelopmentDataSets) {
  const auto folder = testing::data_path("");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "skipped: no data";
  for (const auto& [name, count] :
       {std::pair("qa/squad2.dev.jsonl", 465u), {"summarize/squality.dev.jsonl", 25u}}) {
    const auto data = load_eval_data(folder / name);
    ASSERT_TRUE(data.ok()) << data.error().message;
    EXPECT_EQ(data->documents.size(), count);
  }
  const auto choices = load_eval_data(folder / "choice/piqa.dev.jsonl");
  ASSERT_TRUE(choices.ok()) << choices.error().message;
  EXPECT_EQ(choices->choices.size(), 919u);
}

}  // namespace
}  // namespace dslad::worker
