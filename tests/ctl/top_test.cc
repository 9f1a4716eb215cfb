// dslactl top: what a view looks like on terminals of all sizes, what throughput is made of counters, and
// which job has waited longest.
#include <algorithm>
#include <gtest/gtest.h>
#include <random>
#include <set>

#include "ctl/columns.h"
#include "ctl/oldest_waiting.h"
#include "ctl/sparkline.h"
#include "ctl/table.h"
#include "ctl/top_frame.h"
#include "ctl/top_layout.h"

namespace dslad::ctl {
namespace {

using schema::JobInfo;
using schema::JobState;
using schema::LayerState;

schema::WorkerInfo worker_of(const std::string& instance, std::uint64_t prompt_tokens,
                             std::uint64_t output_tokens) {
  schema::WorkerInfo worker;
  worker.name = "host:" + instance + ":cpu";
  worker.instance = instance;
  worker.model = "stories260K";
  worker.model_digest = "d";
  worker.device = "cpu";
  worker.capacity = 4;
  worker.engine.prompt_tokens = prompt_tokens;
  worker.engine.output_tokens = output_tokens;
  return worker;
}

schema::DaemonStatus status_of(std::uint64_t succeeded, std::vector<schema::WorkerInfo> workers = {}) {
  schema::DaemonStatus status;
  status.version = "1.0";
  status.jobs = {{"queued", 12}, {"running", 2}, {"succeeded", succeeded}, {"failed", 1}};
  status.workers = std::move(workers);
  return status;
}

schema::ModelLayers model_of(std::size_t layers) {
  schema::ModelLayers model;
  model.model = "stories260K";
  model.model_digest = "d";
  for (std::uint32_t i = 0; i < layers; ++i) {
    schema::LayerInfo layer;
    layer.layer = i;
    layer.order = static_cast<std::int32_t>(layers - 1 - i);  // the last is converted first
    layer.state = i + 1 == layers ? LayerState::kActive
                  : i == 0        ? LayerState::kFailed
                                  : LayerState::kDistilled;
    layer.distilled = i != 0;
    model.layers.push_back(layer);
  }
  return model;
}

TopView full_view() {
  TopView view;
  view.time_ms = 1'750'000'000'000;
  view.url = "ipc:///run/dslad/jobs.sock";
  view.status = status_of(1234, {worker_of("1", 0, 0), worker_of("2", 0, 0)});
  view.status->workers[1].plan = 1;
  view.oldest.emplace().created_ms = view.time_ms - 185'000;
  view.policy.emplace().levels = {{"tiny", "d1", 0, 0, "what waits takes longer than the target", 0}};
  view.models = {model_of(4)};
  for (int i = 0; i < 30; ++i) {
    JobInfo& job = view.running.emplace_back();
    job.id = 100 + i;
    job.state = JobState::kRunning;
    job.started_ms = view.time_ms - 2000;
    job.progress = {schema::Phase::kPrefill, 512, 1024, 0};
    job.custom_id = "report.txt";
  }
  return view;
}

Throughput some_throughput() {
  Throughput throughput;
  for (int second = 0; second <= 60; ++second) {
    const auto n = static_cast<std::uint64_t>(second);
    throughput.add(second * 1000, status_of(2 * n, {worker_of("1", 100 * n, 10 * n)}));
  }
  return throughput;
}

std::string text_of(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

std::string frame_text(const TopView& view, TerminalSize size, TopStyle style = {}) {
  return text_of(top_frame(view, some_throughput(), size, style));
}

TEST(DisplayWidth, CountsColumnsAndNotBytes) {
  EXPECT_EQ(display_width("Grüße"), 5U);
  EXPECT_EQ(display_width("世界"), 4U);
  EXPECT_EQ(display_width("e\u0301"), 1U);
  EXPECT_EQ(display_width("\x1b[31mred\x1b[0m"), 3U);
}

TEST(Fit, CutsAtACharacterAndEndsItsColour) {
  EXPECT_EQ(fit("abc", 3), "abc");
  EXPECT_EQ(fit("abcd", 3), "abc");
  EXPECT_EQ(fit("世界", 3), "世");
  EXPECT_EQ(fit("\x1b[31mred\x1b[0m", 2), "\x1b[31mre\x1b[0m");
  EXPECT_EQ(fit("\x1b[31mred\x1b[0m", 3), "\x1b[31mred\x1b[0m");
  EXPECT_EQ(fit("a", 0), "");
}

TEST(Wrap, BreaksBetweenPiecesOnly) {
  EXPECT_EQ(wrap({"one", "two", "three"}, "  ", 9), (std::vector<std::string>{"one  two", "three"}));
  EXPECT_EQ(wrap({"longer than that"}, " ", 6), (std::vector<std::string>{"longer"}));
  EXPECT_EQ(wrap(words("  a  bc d"), " ", 4), (std::vector<std::string>{"a bc", "d"}));
}

TEST(Table, NarrowTo_DropsTheLastColumnsFirst) {
  Table table({"A", ">B", "C"});
  table.add({"a", "b", "ccccc"});
  table.narrow_to(8);
  EXPECT_EQ(table.text(), "A  B\na  b\n");
}

TEST(Sparkline, LargestIsFull_NothingIsBlank) {
  EXPECT_EQ(sparkline({std::nullopt, 0.0, 1.0, 7.0}, true), " ▁▂█");
  EXPECT_EQ(sparkline({std::nullopt, 0.0, 7.0}, false), " _#");
  EXPECT_EQ(sparkline({0.0, 0.0}, true), "▁▁");
}

TEST(Throughput, RatesAreGrowthByTime) {
  const Throughput throughput = some_throughput();
  const std::optional<Rates> latest = throughput.latest();
  ASSERT_TRUE(latest);
  EXPECT_NEAR(latest->jobs_per_s, 2, 1e-9);
  EXPECT_NEAR(latest->prompt_tokens_per_s, 100, 1e-9);
  EXPECT_NEAR(latest->output_tokens_per_s, 10, 1e-9);
  const auto history = throughput.history(30);  // ten seconds each, of which six are known
  EXPECT_FALSE(history[23]);
  for (std::size_t part = 24; part < 30; ++part) {
    ASSERT_TRUE(history[part]) << part;
    EXPECT_NEAR(history[part]->prompt_tokens_per_s, 100, 1e-9) << part;
  }
}

TEST(Throughput, ACounterThatStartsAnew_OrAWorkerThatComes_IsNoWork) {
  Throughput throughput;
  throughput.add(0, status_of(500, {worker_of("1", 9000, 900)}));
  throughput.add(1000, status_of(3, {worker_of("1", 0, 0), worker_of("2", 7000, 700)}));
  throughput.add(2000, status_of(4, {worker_of("1", 20, 2), worker_of("2", 7010, 701)}));
  const std::optional<Rates> latest = throughput.latest();
  ASSERT_TRUE(latest);
  EXPECT_NEAR(latest->jobs_per_s, 0.5, 1e-9);
  EXPECT_NEAR(latest->prompt_tokens_per_s, 15, 1e-9);
}

TEST(Throughput, OneLook_TellsNothing) {
  Throughput throughput;
  throughput.add(0, status_of(5));
  EXPECT_FALSE(throughput.latest());
  EXPECT_FALSE(throughput.history(3).back());
}

TEST(LayOut, SharesRowsByRank_AndCountsWhatIsCut) {
  const std::vector<Section> sections = {
      {{"list", "a", "b", "c", "d"}, 2, 2, true}, {{"one"}, 0}, {{"x", "y"}, 1}};
  EXPECT_EQ(lay_out(sections, 0),
            (std::vector<std::string>{"list", "a", "b", "c", "d", "", "one", "", "x", "y"}));
  EXPECT_EQ(lay_out(sections, 6), (std::vector<std::string>{"list", "a", "and 3 more", "one", "x", "y"}));
  EXPECT_EQ(lay_out(sections, 1), (std::vector<std::string>{"one"}));
}

TEST(TopFrame, ShowsWhatTheDaemonSaid) {
  const std::string text = frame_text(full_view(), {120, 0});
  for (const char* part :
       {"dslad 1.0", "12 waiting", "2 running", "1,234 succeeded", "1 failed", "oldest waits 3 min 05 s",
        "policy manual: plan 0: what waits takes longer than the target", "host:1:cpu", "jobs           2.0",
        "report.txt", "prefill [############............] 512 of 1,024 tokens"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in\n" << text;
  }
}

TEST(TopFrame, LayersAreThoseOfTheWorkersPlan) {
  const std::string text = frame_text(full_view(), {120, 0});
  EXPECT_NE(text.find("xooo  plan 0 of stories260K, 1 worker"), std::string::npos) << text;
  EXPECT_NE(text.find("xoo#  plan 1 of stories260K, 1 worker"), std::string::npos) << text;
  EXPECT_NE(text.find("layers: . attention  o distilled  # DSLA  x failed\n"), std::string::npos) << text;
}

TEST(TopFrame, LayersThatAreYetToBeDistilledHaveGlyphsOfTheirOwn) {
  TopView view = full_view();
  view.models[0].layers[1].state = LayerState::kPlanned;
  view.models[0].layers[2].state = LayerState::kDistilling;
  const std::string text = frame_text(view, {120, 0});
  EXPECT_NE(text.find("x-~o  plan 0 of stories260K, 1 worker"), std::string::npos) << text;
  EXPECT_NE(text.find("layers: . attention  - planned  ~ distilling  o distilled"), std::string::npos)
      << text;
}

TEST(TopFrame, ADaemonThatIsAway_IsSaidAboveWhatItSaidLast) {
  TopView view = full_view();
  view.error = "no answer came in time";
  view.silent_ms = 3200;
  const auto lines = top_frame(view, {}, {80, 24}, {});
  EXPECT_EQ(lines.front(), "no answer from ipc:///run/dslad/jobs.sock since 3 s");
  EXPECT_NE(text_of(lines).find("12 waiting"), std::string::npos);
}

TEST(TopFrame, BeforeTheFirstAnswer_SaysWhomItAsks) {
  TopView view;
  view.url = "ipc:///x";
  EXPECT_NE(frame_text(view, {80, 24}).find("ipc:///x"), std::string::npos);
}

TEST(TopFrame, ListsThatDoNotFit_SayHowManyAreLeftOut) {
  const std::string text = frame_text(full_view(), {80, 24});
  EXPECT_NE(text.find("more\n"), std::string::npos) << text;
}

TEST(TopFrame, WithoutColour_HasNoEscapes_AndTextsCannotAddAny) {
  TopView view = full_view();
  const std::string evil = "\x1b[2J\x1b]0;owned\x07\nname\t";
  view.url = view.status->version = view.models[0].model = evil;
  view.policy->levels.resize(2);
  for (auto& level : view.policy->levels) level.model = level.model_digest = level.why = evil;
  for (auto& worker : view.status->workers) worker.name = worker.model = worker.device = evil;
  for (auto& job : view.running) {
    job.custom_id = job.worker = evil;
    job.labels = {evil};
  }
  for (const std::string& line : top_frame(view, some_throughput(), {200, 0}, {})) {
    EXPECT_TRUE(std::all_of(line.begin(), line.end(), [](char c) {
      return static_cast<unsigned char>(c) >= 0x20;
    })) << line;
  }
}

// A text with everything that has a width of its own.
std::string random_text(std::mt19937& random) {
  const std::vector<std::string> parts = {"a", "word ", "ü", "世", "🦊", "e\u0301", "\x1b[31m", "\n", " "};
  std::string text;
  for (auto n = random() % 40; n > 0; --n) text += parts[random() % parts.size()];
  return text;
}

TopView random_view(std::mt19937& random) {
  TopView view = full_view();
  view.url = random_text(random);
  if (random() % 3 == 0) view.error = "away";
  if (random() % 8 == 0) view.status.reset();
  view.silent_ms = random();
  if (random() % 4 == 0) view.policy.reset();
  if (view.policy) {
    view.policy->levels.resize(random() % 3);
    for (auto& level : view.policy->levels) {
      level.model = random_text(random);
      level.why = random_text(random);
    }
  }
  view.models = {model_of(random() % 200)};
  view.models[0].model = random_text(random);
  view.running.resize(random() % 30);
  for (JobInfo& job : view.running) {
    job.id = static_cast<schema::JobId>(random());
    job.custom_id = random_text(random);
    job.worker = random_text(random);
    job.progress.prompt_done = random();
    job.progress.prompt_total = random();
  }
  if (!view.status) return view;
  view.status->version = random_text(random);
  view.status->mode = random() % 2 == 0 ? schema::QueueMode::kOpen : schema::QueueMode::kPaused;
  view.status->workers.resize(random() % 5);
  for (schema::WorkerInfo& worker : view.status->workers) {
    worker.name = random_text(random);
    worker.plan = static_cast<std::uint32_t>(random() % 9);
    worker.cache_bytes = random();
  }
  return view;
}

TEST(TopFrame, NoLineIsWiderThanTheTerminal_AndNoFrameHigher) {
  std::mt19937 random(7);
  const Throughput throughput = some_throughput();
  for (int i = 0; i < 2000; ++i) {
    const TopView view = random_view(random);
    const TerminalSize size{1 + random() % 160, 1 + random() % 60};
    const TopStyle style{random() % 2 == 0, random() % 2 == 0};
    const auto lines = top_frame(view, throughput, size, style);
    ASSERT_LE(lines.size(), size.rows);
    ASSERT_FALSE(lines.empty());
    for (const std::string& line : lines) {
      ASSERT_LE(display_width(line), size.columns) << size.columns << " by " << size.rows << ": " << line;
    }
  }
}

// The daemon's list of queued jobs.
class Queue {
 public:
  std::set<schema::JobId> ids;
  int questions = 0;

  Result<schema::JobList> list(const schema::ListJobs& request) {
    ++questions;
    schema::JobList page;
    for (auto id = ids.rbegin(); id != ids.rend(); ++id) {
      if (request.before_id != 0 && *id >= request.before_id) continue;
      if (page.jobs.size() == request.limit) {
        page.more = true;
        break;
      }
      page.jobs.emplace_back().id = *id;
    }
    return page;
  }
};

schema::JobId looked_up(OldestWaiting& oldest, Queue& queue) {
  queue.questions = 0;
  const auto found = oldest.look([&queue](const schema::ListJobs& request) { return queue.list(request); });
  EXPECT_TRUE(found);
  EXPECT_LE(queue.questions, OldestWaiting::kQuestions);
  return *found ? (*found)->id : 0;
}

TEST(OldestWaiting, IsFoundInALongQueue_AndFollowed) {
  Queue queue;
  OldestWaiting oldest;
  EXPECT_EQ(looked_up(oldest, queue), 0);
  for (schema::JobId id = 70'001; id <= 170'000; ++id) queue.ids.insert(id);
  looked_up(oldest, queue);  // more questions than one look has
  looked_up(oldest, queue);
  EXPECT_EQ(looked_up(oldest, queue), 70'001);
  EXPECT_EQ(looked_up(oldest, queue), 70'001);
  EXPECT_LE(queue.questions, 2);
  for (schema::JobId id = 70'001; id < 70'050; ++id) queue.ids.erase(id);
  for (int i = 0; i < 3; ++i) looked_up(oldest, queue);
  EXPECT_EQ(looked_up(oldest, queue), 70'050);
  queue.ids.insert(17);  // queued again
  looked_up(oldest, queue);
  EXPECT_EQ(looked_up(oldest, queue), 17);
  queue.ids = {200'000};
  EXPECT_EQ(looked_up(oldest, queue), 200'000);
  queue.ids.clear();
  EXPECT_EQ(looked_up(oldest, queue), 0);
}

}  // namespace
}  // namespace dslad::ctl
