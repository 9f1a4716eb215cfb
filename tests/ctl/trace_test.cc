// Traces for `policy simulate`: what is read of which columns, and which line is wrong in which way.
#include "ctl/trace.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <random>
#include <sstream>

namespace dslad::ctl {
namespace {

constexpr std::size_t kAll = kMostTraceJobs;

Result<std::vector<TraceJob>> read(const std::string& text, std::size_t limit = kAll) {
  std::istringstream in(text);
  return read_trace(in, "'t.csv'", limit);
}

std::vector<TraceJob> jobs_of(const std::string& text, std::size_t limit = kAll) {
  Result<std::vector<TraceJob>> jobs = read(text, limit);
  EXPECT_TRUE(jobs) << jobs.error().message;
  return jobs ? *jobs : std::vector<TraceJob>(1);
}

TEST(Trace, OwnColumnsInAnyOrderWithEmptyTerms) {
  const std::vector<TraceJob> jobs = jobs_of(
      "bytes,client,arrived_s,max_tokens,questions,deadline_s,min_quality,max_plan,priority,model\n"
      "4000,\"a, \"\"b\"\"\",7.5,64,3,90,98%,4,-2,large\n"
      "12,,9,1,,,,,,\n");
  ASSERT_EQ(jobs.size(), 2U);
  EXPECT_EQ(jobs[0].bytes, 4000U);
  EXPECT_EQ(jobs[0].client, "a, \"b\"");
  EXPECT_EQ(jobs[0].arrived_s, 0);
  EXPECT_EQ(jobs[0].max_tokens, 64U);
  EXPECT_EQ(jobs[0].questions, 3U);
  EXPECT_EQ(jobs[0].deadline_ms, 90'000U);
  EXPECT_EQ(jobs[0].min_quality, 0.98);
  EXPECT_EQ(jobs[0].max_plan, 4U);
  EXPECT_EQ(jobs[0].priority, -2);
  EXPECT_EQ(jobs[0].model, "large");
  EXPECT_EQ(jobs[1].model, "");
  EXPECT_EQ(jobs[1].arrived_s, 1.5);
  EXPECT_FALSE(jobs[1].deadline_ms || jobs[1].min_quality || jobs[1].max_plan);
}

TEST(Trace, AzuresHeaderWithByteOrderMarkAndCarriageReturns) {
  const std::vector<TraceJob> jobs = jobs_of(
      "\xEF\xBB\xBFTIMESTAMP,ContextTokens,GeneratedTokens\r\n"
      "2023-11-16 23:59:59.9799600,4808,10\r\n\r\n2023-11-17 00:00:00.4799600,3180,8");
  ASSERT_EQ(jobs.size(), 2U);
  EXPECT_EQ(jobs[0].prompt_tokens, 4808U);
  EXPECT_EQ(jobs[0].output_tokens, 10U);
  EXPECT_EQ(jobs[0].bytes, 0U);
  EXPECT_NEAR(jobs[1].arrived_s, 0.5, 1e-6);
  EXPECT_NEAR(jobs_of("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.5+00:00,1,1\n"
                      "2024-05-12T01:00:00+00:00,1,1\n")[1]
                  .arrived_s,
              49 * 3600 - 0.5, 1e-6);
}

TEST(Trace, VidursHeader) {
  const std::vector<TraceJob> jobs = jobs_of("arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,374,44\n");
  EXPECT_EQ(jobs.at(0).prompt_tokens, 374U);
}

TEST(Trace, TheFirstJobsOfTheFileAndItsEarliestMoment) {
  const std::string text = "arrived_s,bytes,max_tokens\n30,1,1\n10,2,1\n20,3,1\nnot looked at\n";
  const std::vector<TraceJob> jobs = jobs_of(text, 3);
  ASSERT_EQ(jobs.size(), 3U);
  EXPECT_EQ(jobs[0].arrived_s, 20);
  EXPECT_EQ(jobs[1].arrived_s, 0);
  EXPECT_FALSE(read(text));
}

// What is written is read again.
TEST(Trace, AnyJobsComeBack) {
  std::mt19937 random(1);
  const auto draw = [&random](int least, int most) {
    return std::uniform_int_distribution<int>(least, most)(random);
  };
  for (int round = 0; round < 50; ++round) {
    std::string text = "priority,arrived_s,bytes,max_tokens,client\n";
    std::vector<TraceJob> written(static_cast<std::size_t>(draw(1, 30)));
    for (TraceJob& job : written) {
      job.priority = draw(-1'000'000, 1'000'000);
      job.arrived_s = draw(0, 1'000'000) / 64.0;
      job.bytes = static_cast<std::uint64_t>(draw(1, 8 << 20));
      job.max_tokens = static_cast<std::uint32_t>(draw(1, 1 << 20));
      std::string quoted;
      for (int i = draw(0, 5); i > 0; --i) job.client += ",\" a;"[draw(0, 4)];
      for (const char c : job.client) quoted += c == '"' ? "\"\"" : std::string(1, c);
      text +=
          fmt::format("{},{},{},{},\"{}\"\n", job.priority, job.arrived_s, job.bytes, job.max_tokens, quoted);
    }
    const std::vector<TraceJob> jobs = jobs_of(text);
    ASSERT_EQ(jobs.size(), written.size());
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      EXPECT_EQ(jobs[i].priority, written[i].priority);
      EXPECT_EQ(jobs[i].bytes, written[i].bytes);
      EXPECT_EQ(jobs[i].max_tokens, written[i].max_tokens);
      EXPECT_EQ(jobs[i].client, written[i].client);
      EXPECT_EQ(jobs[i].arrived_s - jobs[0].arrived_s, written[i].arrived_s - written[0].arrived_s);
    }
  }
}

// Whatever is wrong with a file, nothing worse comes of it than an error with a line.
TEST(Trace, AnyDamageIsAnErrorThatNamesTheLine) {
  const std::string good = "arrived_s,bytes,max_tokens,client,deadline_s\n1,2,3,\"x\",4\n5,6,7,,\n";
  std::mt19937 random(2);
  for (int round = 0; round < 2'000; ++round) {
    std::string text = good;
    const std::size_t at = random() % text.size();
    text[at] = static_cast<char>(random());
    if (random() % 4 == 0) text.resize(at);
    const Result<std::vector<TraceJob>> jobs = read(text);
    if (jobs) continue;
    EXPECT_EQ(jobs.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(jobs.error().message, testing::HasSubstr("'t.csv', line "));
  }
}

struct BadCase {
  std::string text;
  std::vector<std::string> says;
};

class BadTrace : public testing::TestWithParam<BadCase> {};

TEST_P(BadTrace, NamesLineValueAndRemedy) {
  const Result<std::vector<TraceJob>> jobs = read(GetParam().text);
  ASSERT_FALSE(jobs);
  EXPECT_EQ(jobs.error().code, ErrorCode::kInvalidArgument);
  for (const std::string& text : GetParam().says) EXPECT_THAT(jobs.error().message, testing::HasSubstr(text));
}

BadCase row(const std::string& column, const std::string& value, std::vector<std::string> says) {
  says.push_back("'t.csv', line 3: " + column + " is '" + value + "' and must be");
  return {"arrived_s,bytes,max_tokens," + column + "\n0,1,1,\n0,1,1," + value + "\n", std::move(says)};
}

BadCase needed(const std::string& line, std::vector<std::string> says) {
  says.emplace_back("'t.csv', line 2: ");
  return {"arrived_s,bytes,max_tokens\n" + line + "\n", std::move(says)};
}

INSTANTIATE_TEST_SUITE_P(
    Lines, BadTrace,
    testing::Values(row("deadline_s", "0", {"above 0"}), row("deadline_s", "soon", {"10m"}),
                    row("min_quality", "98", {"0.98 or 98%"}), row("max_plan", "1025", {"1024"}),
                    row("questions", "257", {"256"}), row("priority", "1000001", {"1000000"}),
                    row("priority", "x", {"whole number"}),
                    needed("soon,1,1", {"arrived_s is 'soon'", "seconds"}),
                    needed("inf,1,1", {"arrived_s is 'inf'"}), needed("nan,1,1", {"arrived_s is 'nan'"}),
                    needed("0,0,1", {"bytes is '0'", "from 1 to"}), needed("0,1.5,1", {"bytes is '1.5'"}),
                    needed("0,,1", {"bytes is ''"}),
                    needed("0,1,1048577", {"max_tokens is '1048577'", "1048576"}),
                    needed("0,1", {"2 fields and the header has 3"}),
                    needed("0,1,1,1", {"4 fields and the header has 3"}),
                    needed("0,1,\"1", {"quote", "close it"}), needed("0,1,\xFF", {"UTF-8"}),
                    needed("0,1," + std::string(70'000, '1'), {"longer than 65536 bytes"})));

INSTANTIATE_TEST_SUITE_P(
    Headers, BadTrace,
    testing::Values(
        BadCase{"", {"nothing in it", "name the columns"}},
        BadCase{"arrived_s,bytes,max_tokens\n", {"no job follows"}},
        BadCase{"bytes,max_tokens\n1,1\n", {"line 1", "no column says when", "arrived_s", "TIMESTAMP"}},
        BadCase{"arrived_s,max_tokens\n", {"how large", "bytes"}},
        BadCase{"arrived_s,bytes\n", {"how long its answer", "max_tokens"}},
        BadCase{"arrived_s,bytes,prompt_tokens,max_tokens\n", {"more than one column"}},
        BadCase{"arrived_s,bytes,max_tokens,client,client\n", {"client is there twice"}},
        BadCase{"arrived_s,bytes,max_tokens,deadlin\n", {"'deadlin'", "did you mean deadline_s?"}},
        BadCase{"TIMESTAMP,bytes,max_tokens\n2023-13-01 00:00:00,1,1\n",
                {"line 2", "'2023-13-01 00:00:00'", "2023-11-16 18:17"}},
        BadCase{"{\"timestamp\": 0}\n", {"line 1", "JSON", "jq"}}));

TEST(TraceFile, ThatCannotBeReadIsNamed) {
  const Result<std::vector<TraceJob>> absent = read_trace_file("/absent/trace.csv", kAll);
  ASSERT_FALSE(absent);
  EXPECT_THAT(absent.error().message, testing::HasSubstr("'/absent/trace.csv': No such file"));
  const Result<std::vector<TraceJob>> folder = read_trace_file(testing::TempDir(), kAll);
  ASSERT_FALSE(folder);
  EXPECT_THAT(folder.error().message, testing::HasSubstr("is it a file?"));
}

}  // namespace
}  // namespace dslad::ctl
