// The report of a database: what is counted, percentiles, charts that show what they are given, and a page
// that is whole whatever the names in it are.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "base/html.h"
#include "daemon/report/chart.h"
#include "daemon/report/facts.h"
#include "daemon/report/page.h"
#include "daemon/report/tables.h"
#include "daemon/report/timeline.h"
#include "tests/daemon/fixture.h"

namespace dslad::daemon::report {

namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::int64_t kNow = 1'750'000'000;  // 2025-06-15 15:06:40

TEST(TimelineTest, HoldsBothMomentsInAFewPartsOfAUsualLength) {
  for (const std::int64_t span : {0LL, 1LL, 59LL, 3600LL, 86'400LL, 40'000'000LL, 1'750'000'000LL}) {
    const Timeline timeline = timeline_of(kNow - span, kNow);
    EXPECT_LE(timeline.begin_s, kNow - span);
    EXPECT_GT(timeline.end_s(), kNow);
    EXPECT_LE(timeline.parts, 72U);
    EXPECT_LE(marks_of(timeline).size(), 9U);
  }
  EXPECT_EQ(timeline_of(kNow - 3600, kNow).part_s, 60);
  EXPECT_EQ(timeline_of(kNow - 7 * 86'400, kNow).part_s, 3 * 3600);
}

TEST(TimelineTest, MarksAreRoundTimes) {
  std::vector<std::string> texts;
  for (const Mark& mark : marks_of(timeline_of(kNow - 3600, kNow))) texts.push_back(mark.text);
  EXPECT_THAT(texts, ::testing::ElementsAre("14:15", "14:30", "14:45", "15:00"));
  EXPECT_EQ(date_text(kNow), "2025-06-15 15:06");
  EXPECT_EQ(length_text(10'800), "3 h");
}

TEST(EscapeHtml, LeavesNothingThatMarkupOrXmlTakesForItsOwn) {
  EXPECT_EQ(escape_html("<b a='1'>&\""), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;");
  EXPECT_EQ(escape_html(std::string_view("a\x01\0\x1b", 4)), "a\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(escape_html("Grüße"), "Grüße");
}

TimeChart chart_of(Shape shape, std::vector<std::pair<std::int64_t, double>> points) {
  return {"title <1>", shape, Unit::kCount, {0, 60, 10}, {{"line & co", "c0", std::move(points)}}};
}

std::size_t occurrences(const std::string& text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(TimeChartTest, WithoutPoints_SaysSo) {
  const std::string html = to_html(chart_of(Shape::kLines, {}));
  EXPECT_THAT(html, HasSubstr("Nothing yet."));
  EXPECT_THAT(html, Not(HasSubstr("<svg")));
}

TEST(TimeChartTest, LinesBreakWhereAPartHasNoPoint) {
  EXPECT_EQ(occurrences(to_html(chart_of(Shape::kLines, {{0, 1}, {60, 2}, {120, 3}})), "M"), 1U);
  EXPECT_EQ(occurrences(to_html(chart_of(Shape::kLines, {{0, 1}, {60, 2}, {240, 3}})), "M"), 2U);
}

TEST(TimeChartTest, BarsStandOnEachOther) {
  TimeChart chart = chart_of(Shape::kBars, {{0, 3}});
  chart.lines.push_back({"more", "c1", {{0, 5}}});
  const std::string html = to_html(chart);
  EXPECT_EQ(occurrences(html, "<rect"), 2U);
  // The axis ends at 8: 184 pixels from row 194 to row 10.
  EXPECT_THAT(html, HasSubstr("y=\"125.0\" width=\"56.0\" height=\"69.0\" class=\"fill c0\""));
  EXPECT_THAT(html, HasSubstr("y=\"10.0\" width=\"56.0\" height=\"115.0\" class=\"fill c1\""));
}

TEST(TimeChartTest, NamesAreEscaped) {
  const std::string html = to_html(chart_of(Shape::kSteps, {{0, 1}}));
  EXPECT_THAT(html, HasSubstr("title &lt;1&gt;"));
  EXPECT_THAT(html, HasSubstr("line &amp; co"));
}

TEST(ValueText, IsShort) {
  EXPECT_EQ(value_text(820, Unit::kMs), "820 ms");
  EXPECT_EQ(value_text(3210, Unit::kMs), "3.21 s");
  EXPECT_EQ(value_text(90'000, Unit::kMs), "1.5 min");
  EXPECT_EQ(value_text(12'345, Unit::kCount), "12.3 k");
  EXPECT_EQ(value_text(1234, Unit::kPerSecond), "1234");
}

class ReportTest : public ::testing::Test {
 protected:
  // A job with one attempt; times in milliseconds after its submit.
  struct Job {
    std::string state = "succeeded";
    std::string client = "alice";
    std::int64_t created_s = kNow - 600;
    int queue_ms = 100;
    int total_ms = 1000;
    int plan = 0;
    std::string labels = {};
    std::string message = {};
  };

  void add(const Job& job) {
    ++id_;
    const std::int64_t created_ms = job.created_s * 1000;
    const bool ended = job.state != "queued";
    sql(fmt::format(
        "INSERT INTO jobs (id, state, task, priority, attempt, max_attempts, created_ms, ended_ms, client, "
        "error_code, error_message) VALUES ({}, '{}', 'qa', 0, {}, 3, {}, {}, '{}', {}, '{}')",
        id_, job.state, ended ? 1 : 0, created_ms, ended ? std::to_string(created_ms + job.total_ms) : "NULL",
        job.client, job.state == "failed" ? "'internal'" : "NULL", job.message));
    if (ended) {
      sql(
          fmt::format("INSERT INTO attempts (job_id, attempt, worker, instance, started_ms, ended_ms, "
                      "outcome, prefill_ms, "
                      "decode_ms, prompt_tokens, output_tokens, plan) VALUES ({}, 1, 'w', 'i', {}, {}, '{}', "
                      "10, 20, 300, "
                      "40, {})",
                      id_, created_ms + job.queue_ms, created_ms + job.total_ms, job.state, job.plan));
    }
    if (!job.labels.empty()) sql(fmt::format("INSERT INTO job_labels VALUES ('{}', {})", job.labels, id_));
  }

  void sql(const std::string& text) { test::must(db_.exec(text.c_str())); }

  Facts facts(std::optional<std::int64_t> since_s = std::nullopt) {
    return test::must(read_facts(file_, kNow, since_s));
  }

  test::TempDir dir_;
  std::filesystem::path file_ = dir_.path() / "dslad.db";
  Database db_ = test::open_database(file_);
  int id_ = 0;
};

TEST_F(ReportTest, EmptyDatabase_HasAPageThatSaysSo) {
  const Facts empty = facts();
  EXPECT_TRUE(empty.jobs.empty());
  const std::string page = to_page(empty);
  EXPECT_THAT(page, HasSubstr("Nothing yet."));
  EXPECT_THAT(page, HasSubstr("No worker has announced a model yet."));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
}

TEST_F(ReportTest, PercentilesAreThoseOfTheJobsThatEnded) {
  for (int i = 1; i <= 100; ++i) add({.queue_ms = i, .total_ms = 1000 + i});
  add({.state = "queued"});
  const Facts read = facts();
  EXPECT_EQ(read.jobs.at("succeeded"), 100U);
  EXPECT_EQ(read.jobs.at("queued"), 1U);
  ASSERT_EQ(read.tasks.size(), 1U);
  EXPECT_EQ(read.tasks[0].jobs, 101U);
  EXPECT_EQ(read.tasks[0].prompt_tokens, 30'000U);
  ASSERT_TRUE(read.tasks[0].queue_ms);
  EXPECT_EQ(read.tasks[0].queue_ms->p50, 50);
  EXPECT_EQ(read.tasks[0].queue_ms->p95, 95);
  EXPECT_EQ(read.tasks[0].total_ms->p95, 1095);
}

TEST_F(ReportTest, EachEndIsInThePartInWhichItWas) {
  add({.created_s = kNow - 3600});
  add({.state = "failed", .created_s = kNow - 1800, .message = "it broke"});
  const Facts read = facts();
  std::uint64_t ended = 0;
  for (std::size_t i = 0; i < read.parts.size(); ++i) {
    for (const auto& [state, jobs] : read.parts[i].ended) {
      ended += jobs;
      const std::int64_t at_s = (state == "failed" ? kNow - 1800 : kNow - 3600) + 1;
      EXPECT_EQ((at_s - read.timeline.begin_s) / read.timeline.part_s, static_cast<std::int64_t>(i)) << state;
    }
  }
  EXPECT_EQ(ended, 2U);
  ASSERT_EQ(read.failures.size(), 1U);
  EXPECT_EQ(read.failures[0].message, "it broke");
}

TEST_F(ReportTest, GroupsAreByClientPlanAndLabel_WhateverTheyAreCalled) {
  add({.plan = 10, .labels = R"(a"b\c&<i>)"});
  add({.client = "", .plan = 2, .labels = "nightly"});
  add({.client = "", .plan = 2});
  sql("INSERT INTO job_labels VALUES ('nightly', 1)");  // of two labels it counts for both
  const Facts read = facts();
  ASSERT_EQ(read.clients.size(), 2U);
  EXPECT_EQ(read.clients[0].name, "");
  EXPECT_EQ(read.clients[0].jobs, 2U);
  ASSERT_EQ(read.plans.size(), 2U);
  EXPECT_EQ(read.plans[0].name, "2");
  EXPECT_EQ(read.plans[1].name, "10");
  ASSERT_EQ(read.labels.size(), 2U);
  EXPECT_EQ(read.labels[0].name, "nightly");
  EXPECT_EQ(read.labels[0].jobs, 2U);
  EXPECT_EQ(read.labels[1].name, R"(a"b\c&<i>)");
  EXPECT_THAT(to_page(read), HasSubstr("a&quot;b\\c&amp;&lt;i&gt;"));
}

TEST_F(ReportTest, Since_LeavesOutWhatWasSubmittedBefore) {
  add({.created_s = kNow - 86'400});
  add({.created_s = kNow - 60});
  const Facts read = facts(kNow - 3600);
  EXPECT_EQ(read.jobs.at("succeeded"), 1U);
  EXPECT_GE(read.timeline.begin_s, kNow - 3660);
}

TEST_F(ReportTest, ReadsWhileSomebodyWrites_AndWritesNothing) {
  add({});
  sql("BEGIN IMMEDIATE");
  add({});
  EXPECT_EQ(facts().jobs.at("succeeded"), 1U);
  sql("COMMIT");
  EXPECT_EQ(facts().jobs.at("succeeded"), 2U);
}

TEST_F(ReportTest, LayersAndConversionsAreShownByModelAndWorker) {
  sql("INSERT INTO models (digest, name, layers, seen_ms) VALUES ('d', '<model>', 2, 0)");
  sql("INSERT INTO layers (model_digest, layer, conversion_order, state, distilled, quality) VALUES ('d', 0, "
      "1, "
      "'distilled', 1, 0.5), ('d', 1, 0, 'distilled', 1, 0.975)");
  sql("BEGIN");
  for (int i = 0; i < 5000; ++i) {
    sql(fmt::format(
        "INSERT INTO layer_changes (time_ms, model_digest, layer, from_state, to_state, reason, plan, "
        "worker, "
        "queued, running) VALUES ({}, 'd', 1, 'distilled', 'active', '<why>', {}, '<worker>', 7, 1)",
        (kNow - 5000 + i) * 1000, i % 3));
  }
  sql("COMMIT");
  const Facts read = facts(kNow - 3600);
  ASSERT_EQ(read.layers.size(), 2U);
  EXPECT_EQ(read.layers[1].plan, 1U);
  ASSERT_EQ(read.worker_plans.size(), 1U);
  EXPECT_LE(read.worker_plans[0].plans.size(), read.timeline.parts + 1);
  EXPECT_EQ(read.worker_plans[0].plans.back().plan, 4999U % 3);
  EXPECT_EQ(read.conversions.size(), static_cast<std::size_t>(kEvents));
  const std::string page = to_page(read);
  EXPECT_THAT(page, HasSubstr("97.5%"));
  for (const char* raw : {"<model>", "<worker>", "<why>"}) EXPECT_THAT(page, Not(HasSubstr(raw)));
}

TEST(ReportErrors, AFileThatIsNoDatabase_IsNamedWithARemedy) {
  const Result<Facts> missing = read_facts("/nowhere/dslad.db", kNow, std::nullopt);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(missing.error().message, HasSubstr("/nowhere/dslad.db"));
  EXPECT_THAT(missing.error().message, HasSubstr("--database"));
}

}  // namespace
}  // namespace dslad::daemon::report
