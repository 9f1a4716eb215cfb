// Rows of batch files: what becomes of each form, what is refused in which words, and that no text harms.
#include "ctl/batch_file.h"

#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gmock/gmock.h>
#include <random>
#include <sys/resource.h>

namespace dslad::ctl {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

BatchRow good(const std::string& text, const RowDefaults& defaults = {}) {
  BatchRow row;
  const Status status = read_batch_row(text, defaults, row);
  EXPECT_TRUE(status) << text << ": " << status.error().message;
  return row;
}

std::string wrong(const std::string& text, const RowDefaults& defaults = {}) {
  BatchRow row;
  const Status status = read_batch_row(text, defaults, row);
  EXPECT_FALSE(status) << text;
  return status ? "" : status.error().message;
}

std::string chat(const std::string& body) {
  return R"({"custom_id":"c","method":"POST","url":"/v1/chat/completions","body":{)" + body + "}}";
}

std::string completion(const std::string& body) {
  return R"({"custom_id":"c","method":"POST","url":"/v1/completions","body":{)" + body + "}}";
}

TEST(BatchRow, NativeKeysAreThoseOfTheProtocol) {
  RowDefaults defaults;
  defaults.request.priority = 3;
  defaults.request.spec.options.max_tokens = 9;
  defaults.request.labels = {"nightly"};
  const BatchRow row = good(
      R"({"custom_id":"a","task":"qa","document":"d","questions":["x","y"],"temperature":0.5,"seed":18446744073709551615,)"
      R"("options":{"top_p":0.25},"labels":["own"],"min_quality":0.9,"max_plan":2,"deadline_in_ms":1000,"model":"m","overflow":"map-reduce"})",
      defaults);
  EXPECT_EQ(row.kind, RowKind::kNative);
  const schema::JobRequest& job = row.request;
  EXPECT_EQ(job.spec.task, schema::Task::kQa);
  EXPECT_THAT(job.spec.questions, ElementsAre("x", "y"));
  EXPECT_EQ(job.spec.overflow, schema::Overflow::kMapReduce);
  EXPECT_EQ(job.spec.options.max_tokens, 9U);
  EXPECT_EQ(job.spec.options.temperature, 0.5);
  EXPECT_EQ(job.spec.options.top_p, 0.25);
  EXPECT_EQ(job.spec.options.seed, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(job.priority, 3);
  EXPECT_EQ(job.terms.min_quality, 0.9);
  EXPECT_EQ(job.terms.max_plan, 2U);
  EXPECT_EQ(job.terms.model, "m");
  EXPECT_THAT(job.labels, ElementsAre("nightly", "own", std::string(kNoBatch)));
  EXPECT_EQ(job.idempotency_key, std::string(kNoBatch) + ":a");
  EXPECT_EQ(job.custom_id, "a");
}

TEST(BatchRow, ChatBecomesOnePromptOfItsTexts) {
  const BatchRow row = good(chat(
      R"("model":"gpt","messages":[{"role":"system","content":"Be brief."},)"
      R"({"role":"user","content":[{"type":"text","text":"One."},{"type":"text","text":"Two."}]}],)"
      R"("max_completion_tokens":7,"temperature":1,"stream":false,"n":1,"tools":[],"stop":null,"user":"u")"));
  EXPECT_EQ(row.kind, RowKind::kChat);
  EXPECT_EQ(row.request.spec.task, schema::Task::kGenerate);
  EXPECT_EQ(row.request.spec.prompt, "Be brief.\n\nOne.\n\nTwo.");
  EXPECT_EQ(row.request.spec.options.max_tokens, 7U);
  EXPECT_EQ(row.request.spec.options.temperature, 1.0);
  EXPECT_EQ(row.request.terms.model, "");
  EXPECT_THAT(row.request.labels, ElementsAre(std::string(kNoBatch), "openai:chat"));
}

TEST(BatchRow, CompletionKeepsItsPromptAndItsModelIfWanted) {
  RowDefaults defaults;
  defaults.use_model = true;
  const BatchRow row =
      good(completion(R"("model":"tiny","prompt":"Once","max_tokens":5,"seed":3)"), defaults);
  EXPECT_EQ(row.kind, RowKind::kCompletion);
  EXPECT_EQ(row.request.spec.prompt, "Once");
  EXPECT_EQ(row.request.terms.model, "tiny");
  EXPECT_EQ(row.request.spec.options.seed, 3U);
}

TEST(BatchRow, LongCustomIdsHaveKeysOfTheirOwn) {
  const std::string a(1024, 'a');
  const std::string b = std::string(1023, 'a') + 'b';
  const auto key = [](const std::string& id) {
    return good(fmt::format(R"({{"custom_id":"{}","task":"generate","prompt":"p"}})", id))
        .request.idempotency_key;
  };
  EXPECT_LE(key(a).size(), schema::kMaxNameBytes);
  EXPECT_NE(key(a), key(b));
  EXPECT_THAT(wrong(fmt::format(R"({{"custom_id":"{}","task":"generate","prompt":"p"}})", a + "a")),
              HasSubstr("custom_id has 1025 bytes"));
}

struct BadCase {
  std::string text;
  std::string says;
};

class BadRows : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadRows, AreRefusedInWordsThatHelp) {
  EXPECT_THAT(wrong(GetParam().text), HasSubstr(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(
    Rows, BadRows,
    ::testing::Values(
        BadCase{"{\"custom_id\":\"a\",", "it is no JSON: something is wrong at byte"},
        BadCase{"[]", "no JSON object"}, BadCase{"17", "no JSON object"},
        BadCase{"{\"custom_id\":\"\xFF\"}", "byte 0xFF at offset 14"},
        BadCase{std::string(40, '['), "nested deeper than 16"},
        BadCase{R"({"task":"generate","prompt":"p"})", "custom_id is missing"},
        BadCase{R"({"custom_id":7,"task":"generate","prompt":"p"})", "custom_id must be a string"},
        BadCase{R"({"custom_id":"a","prompt":"p"})", "task is missing"},
        BadCase{R"({"custom_id":"a","task":"qa","overflow":"cut"})",
                "overflow must be error, truncate or map-reduce"},
        BadCase{R"({"custom_id":"a","task":"sing","prompt":"p"})", "task must be summarize, qa or generate"},
        BadCase{R"({"custom_id":"a","task":"generate","promt":"p"})",
                "unknown key 'promt'; did you mean 'prompt'?"},
        BadCase{R"({"custom_id":"a","task":"generate"})", "task generate needs a prompt"},
        BadCase{R"({"custom_id":"a","task":"generate","prompt":"p","max_tokens":1.5})",
                "max_tokens must be a whole number"},
        BadCase{R"({"custom_id":"a","task":"generate","prompt":"p","max_tokens":-1})",
                "from 0 to 4294967295"},
        BadCase{R"({"custom_id":"a","task":"generate","prompt":"p","temperature":1e999})", "it is no JSON"},
        BadCase{R"({"custom_id":"a","task":"generate","prompt":"p","idempotency_key":"k"})", "not for rows"},
        BadCase{R"({"custom_id":"a","task":"generate","prompt":"p","options":{"max_token":1}})",
                "'max_tokens'"},
        BadCase{R"({"custom_id":"a","task":"qa","document":"d","questions":"q"})",
                "questions must be a list of strings"},
        BadCase{R"({"custom_id":"a","method":"GET","url":"/v1/completions","body":{}})",
                "method must be POST"},
        BadCase{R"({"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}})",
                "url is '/v1/embeddings'"},
        BadCase{R"({"custom_id":"a","method":"POST","url":"/v1/completions"})", "body must be an object"},
        BadCase{completion(R"("prompt":["a","b"])"), "body: prompt must be a string"},
        BadCase{completion(R"("prompt":"p","stream":true)"), "body: stream is not supported here"},
        BadCase{completion(R"("prompt":"p","n":2)"), "n is not supported"},
        BadCase{completion(R"("prompt":"p","logprobs":1)"), "logprobs is not supported"},
        BadCase{completion(R"("prompt":"p","max_token":1)"), "unknown key 'max_token'"},
        BadCase{chat(R"("messages":[])"), "messages must be a list of at least one"},
        BadCase{chat(R"("messages":[{"role":"tool","content":"x"}])"), "body: messages[0]: role is 'tool'"},
        BadCase{chat(R"("messages":[{"role":"user"}])"), "content is missing"},
        BadCase{chat(R"("messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}])"),
                "part of type 'image_url'"},
        BadCase{chat(R"("messages":[{"role":"user","content":"x"}],"tools":[{}])"), "tools is not supported"},
        BadCase{chat(R"("messages":[{"role":"user","content":""}])"), "messages have no text"}));

class BatchFiles : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string file(const std::string& content) {
    std::string path = folder_ / "rows.jsonl";
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }

  // What is said of each row, "" of a good one, with its line.
  static std::vector<std::string> read(BatchFile& batch) {
    std::vector<std::string> said;
    BatchRows rows(batch, {});
    NumberedRow row;
    while (rows.next(row).value())
      said.push_back(fmt::format("{}:{}", row.line, row.sound ? "" : row.sound.error().message));
    return said;
  }

  std::filesystem::path folder_ = std::filesystem::path(testing::TempDir()) / "dslad_batch_file_test";
};

std::string row_of(const std::string& id) {
  return fmt::format("{{\"custom_id\":\"{}\",\"task\":\"generate\",\"prompt\":\"p\"}}", id);
}

TEST_F(BatchFiles, RowsHaveTheirLinesAndDuplicatesNameTheFirst) {
  BatchFile batch = std::move(BatchFile::open(file("\xEF\xBB\xBF" + row_of("a") + "\r\n\n" + row_of("b") +
                                                   "\n" + row_of("a") + "\n{}\n" + row_of("c")))
                                  .value());
  const std::vector<std::string> first = read(batch);
  EXPECT_THAT(first, ElementsAre("1:", "3:", "4:custom_id 'a' is that of line 1 already",
                                 "5:task is missing; it must be summarize, qa or generate", "6:"));
  EXPECT_EQ(read(batch), first) << "a second reading says the same";
}

TEST_F(BatchFiles, LineThatIsTooLongIsOneBadRow) {
  BatchFile batch =
      std::move(BatchFile::open(file(std::string(kLongestRow + 1, 'x') + "\n" + row_of("a") + "\n")).value());
  EXPECT_THAT(read(batch), ElementsAre(HasSubstr("1:it has 16777218 bytes"), "2:"));
}

TEST_F(BatchFiles, IdIsOfTheContentAndOfTheOptionsThatChangeTheWork) {
  const auto hash = [this](const std::string& content) {
    BatchFile batch = std::move(BatchFile::open(file(content)).value());
    BatchRows rows(batch, {});
    NumberedRow row;
    while (rows.next(row).value()) {
    }
    return rows.hash();
  };
  const Hash one = hash(row_of("a") + "\n");
  EXPECT_EQ(one, hash(row_of("a") + "\n"));
  EXPECT_NE(one, hash(row_of("a")));
  schema::SamplingOptions other;
  other.max_tokens = 7;
  EXPECT_EQ(batch_id(one, {}, "", false), batch_id(one, {}, "", false));
  EXPECT_NE(batch_id(one, {}, "", false), batch_id(one, other, "", false));
  EXPECT_TRUE(check_batch_id(batch_id(one, {}, "", false)));
  EXPECT_FALSE(check_batch_id("batch_12"));
}

TEST_F(BatchFiles, ChangeIsSeenAndWhatCannotBeReadTwiceIsRefused) {
  const std::string path = file(row_of("a"));
  const BatchFile batch = std::move(BatchFile::open(path).value());
  EXPECT_FALSE(batch.changed());
  std::ofstream(path, std::ios::app) << "\n";
  EXPECT_TRUE(batch.changed());
  for (const char* name : {"-", "/dev/null", "/nowhere/rows.jsonl"})
    EXPECT_FALSE(BatchFile::open(name)) << name;
}

// Rows with bytes changed, dropped and doubled: each is good or says why not, and memory stays bounded.
TEST(BatchRowProperty, NoTextHarms) {
  std::mt19937 dice(20250611);
  const std::vector<std::string> seeds = {
      chat(R"("messages":[{"role":"user","content":[{"type":"text","text":"a\u00e9\n"}]}],"top_p":0.5)"),
      completion(R"("prompt":"p","max_tokens":5,"logit_bias":{})"),
      R"({"custom_id":"a","task":"qa","document":"d","questions":["x","y"],"options":{"seed":1},"labels":["l"]})"};
  for (int round = 0; round < 20'000; ++round) {
    std::string text = seeds[dice() % seeds.size()];
    for (unsigned edits = dice() % 6; edits > 0; --edits) {
      const std::size_t at = dice() % text.size();
      switch (dice() % 4) {
        case 0:
          text[at] = static_cast<char>(dice());
          break;
        case 1:
          text.erase(at, 1 + dice() % 8);
          break;
        case 2:
          text.insert(at, text.substr(dice() % text.size(), dice() % 32));
          break;
        default:
          text.insert(at, 1, "{}[]\",:\\0"[dice() % 9]);
      }
      if (text.empty()) text = "{";
    }
    BatchRow row;
    const Status status = read_batch_row(text, {}, row);
    if (status) {
      EXPECT_TRUE(row.request.validate()) << text;
    } else {
      EXPECT_FALSE(status.error().message.empty());
    }
  }
}

TEST(BatchRowProperty, LongestRowsOfTheWorstKindTakeBoundedMemory) {
  const auto peak_kib = [] {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  };
  const auto before = peak_kib();
  std::string commas = "[";
  for (std::size_t i = 0; i < kLongestRow / 2 - 2; ++i) commas += "1,";
  EXPECT_THAT(wrong(commas + "1]"), HasSubstr("more than 65536 values"));
  EXPECT_THAT(wrong(std::string(kLongestRow, '[')), HasSubstr("nested deeper"));
  wrong("\"" + std::string(kLongestRow - 2, 'x') + "\"");
  wrong("{\"" + std::string(kLongestRow - 8, 'x') + "\":{}}");
  EXPECT_LT(peak_kib() - before, 400 << 10);
}

}  // namespace
}  // namespace dslad::ctl
