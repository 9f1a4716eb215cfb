// What dslactl prints: numbers, tables and progress as people read them, JSON as programs do.
#include <cstdlib>
#include <ctime>
#include <gtest/gtest.h>

#include "ctl/format.h"
#include "ctl/json.h"
#include "ctl/progress.h"
#include "ctl/table.h"

namespace dslad::ctl {
namespace {

TEST(FormatDuration, UsesTheUnitThatFits) {
  EXPECT_EQ(format_duration(0), "0 ms");
  EXPECT_EQ(format_duration(999.9), "999 ms");
  EXPECT_EQ(format_duration(1000), "1.0 s");
  EXPECT_EQ(format_duration(59'999), "59.9 s");
  EXPECT_EQ(format_duration(245'000), "4 min 05 s");
  EXPECT_EQ(format_duration(11'520'000), "3 h 12 min");
  EXPECT_EQ(format_duration(187'200'000.0), "2 d 04 h");
}

TEST(FormatDuration, ClockThatWentBack_IsZero) {
  EXPECT_EQ(format_duration(-5), "0 ms");
}

TEST(FormatRough, SaysNoMoreThanAPredictionKnows) {
  EXPECT_EQ(format_rough(0), "1 s");
  EXPECT_EQ(format_rough(40'400), "40 s");
  EXPECT_EQ(format_rough(59'600), "1 min");
  EXPECT_EQ(format_rough(187'000), "3 min 10 s");
  EXPECT_EQ(format_rough(599'000), "10 min");
  EXPECT_EQ(format_rough(3'590'000), "1 h");
  EXPECT_EQ(format_rough(8'300'000), "2 h 20 min");
  EXPECT_EQ(format_rough(200'000'000), "2 d");
}

TEST(FormatShare, IsAPercentage) {
  EXPECT_EQ(format_share(1), "100%");
  EXPECT_EQ(format_share(0.98), "98%");
  EXPECT_EQ(format_share(0.98312), "98.3%");
  EXPECT_EQ(format_share(0), "0%");
}

TEST(FormatMoment, IsTheClockOfTodayElseTheDate_AndHowFarOff) {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  constexpr std::int64_t kNow = 1'750'000'000'000;  // 15:06:40
  EXPECT_EQ(format_moment(kNow + 120'000, kNow), "15:08:40 (in 2 min)");
  EXPECT_EQ(format_moment(kNow - 30'000, kNow), "15:06:10 (30 s ago)");
  EXPECT_EQ(format_moment(kNow + 100, kNow), "15:06:40 (now)");
  EXPECT_EQ(format_moment(kNow + 36'000'000, kNow), "2025-06-16 01:06:40 (in 10 h)");
}

TEST(FormatCount, GroupsThousands) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(1234567), "1,234,567");
}

TEST(FormatBytes, UsesBinaryUnits) {
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(std::uint64_t{3} << 30), "3.0 GiB");
}

TEST(FormatDate, IsLocalTime) {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  EXPECT_EQ(format_date(1'750'000'000'999), "2025-06-15 15:06:40");
  EXPECT_EQ(format_clock(1'750'000'000'999), "15:06:40");
}

TEST(OneLine, LeavesTextOfAnyLanguageAndNothingThatSteersATerminal) {
  EXPECT_EQ(one_line("Grüße, 世界"), "Grüße, 世界");
  EXPECT_EQ(one_line("a\x1b[2Jb\nc\td\x7f"), "a?[2Jb?c?d?");
  EXPECT_EQ(one_line("\xC2\x9B\x32J"), "?2J");  // CSI as one code point
  EXPECT_EQ(printable("a\nb\tc\x1b"), "a\nb\tc?");
}

TEST(Table, AlignsByCodePointsAndIgnoresColours) {
  Table table({"NAME", ">COUNT", "NOTE"});
  table.add({"\x1b[32mok\x1b[0m", "1", "x"});
  table.add({"Grüße", "1,234"});
  EXPECT_EQ(table.text(),
            "NAME   COUNT  NOTE\n"
            "\x1b[32mok\x1b[0m         1  x\n"
            "Grüße  1,234\n");
}

TEST(Table, ColumnsThatSayNothing_CanGo) {
  Table table({"A", ">B", "C", "D"});
  table.add({"1", "", "x"});
  table.add({"2", "", ""});
  table.drop_empty();
  EXPECT_EQ(table.text(), "A  C\n1  x\n2\n");
}

schema::JobInfo job(schema::JobId id, schema::JobState state) {
  schema::JobInfo info;
  info.id = id;
  info.state = state;
  return info;
}

TEST(ProgressLines, ShowRunningJobsUpToTheRowsAndCountAll) {
  auto running = job(2, schema::JobState::kRunning);
  running.progress = {schema::Phase::kPrefill, 1000, 4000, 0};
  const auto lines = progress_lines({job(1, schema::JobState::kSucceeded), running,
                                     job(3, schema::JobState::kRunning), job(4, schema::JobState::kQueued)},
                                    1);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0], "job 2      prefill [######..................] 1,000 of 4,000 tokens");
  EXPECT_EQ(lines[1], "[######..................] 1 of 4 ended, 2 running, 1 queued");
}

TEST(ProgressText, WorkOfUnknownSize_HasAnEmptyBar) {
  auto running = job(1, schema::JobState::kRunning);
  running.progress.phase = schema::Phase::kPrefill;
  EXPECT_EQ(progress_text(running), "prefill [........................] 0 of 0 tokens");
}

TEST(Json, ResultHasTheDocumentedKeys) {
  schema::JobResult result;
  result.job = job(7, schema::JobState::kSucceeded);
  result.job.task = schema::Task::kQa;
  result.outputs = {{"Who?", "Ann\n\"", schema::FinishReason::kLength, 3}};
  result.metrics.output_tokens = 3;
  const std::string line = to_json(JobOutcome{result});
  EXPECT_TRUE(line.starts_with(
      R"({"id":7,"custom_id":"","state":"succeeded","task":"qa","outputs":[{"question":"Who?","text":"Ann\n\"",)"
      R"("finish_reason":"length","output_tokens":3,"part":0}],"metrics":{)"))
      << line;
  EXPECT_TRUE(line.ends_with("}}\n"));
}

TEST(Json, AbsentMembersAreLeftOutAndErrorsAreWords) {
  EXPECT_EQ(to_json(SubmittedJob{5, {}}), "{\"id\":5}\n");
  EXPECT_EQ(to_json(SubmittedJob{5, true}), "{\"id\":5,\"duplicate\":true}\n");
  EXPECT_EQ(to_json(SubmittedJob{5, {}, 1234}), "{\"id\":5,\"finish_ms\":1234}\n");
  auto failed = job(1, schema::JobState::kFailed);
  failed.error = Error{ErrorCode::kInvalidArgument, "too long"};
  EXPECT_NE(to_json(failed).find(R"("error":{"code":"invalid_argument","message":"too long"})"),
            std::string::npos);
}

}  // namespace
}  // namespace dslad::ctl
