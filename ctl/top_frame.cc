#include "ctl/top_frame.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <map>
#include <utility>

#include "ctl/columns.h"
#include "ctl/format.h"
#include "ctl/policy_text.h"
#include "ctl/progress.h"
#include "ctl/sparkline.h"
#include "ctl/table.h"
#include "ctl/top_layout.h"

namespace dslad::ctl {
namespace {

using schema::JobState;
using schema::LayerState;

// What is asked of every part of a frame.
struct Paper {
  std::size_t columns;
  TopStyle style;
};

enum Rank : int { kHead, kQueue, kPolicy, kSpeed, kLayers, kWorkers, kJobs };

double as_ms(std::uint64_t ms) {
  return static_cast<double>(ms);
}

std::string figure(double value) {
  return value < 100 ? fmt::format("{:.1f}", value) : format_count(static_cast<std::uint64_t>(value));
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

// A table's rows under its header.
std::vector<std::string> rows_of(Table& table, const Paper& paper) {
  table.drop_empty();
  table.narrow_to(paper.columns);
  std::vector<std::string> lines = lines_of(table.text());
  lines.front() = bold_if(paper.style.colour, lines.front());
  return lines;
}

Section head(const TopView& view, const Paper& paper) {
  std::vector<std::string> pieces;
  if (view.status) {
    pieces = {fmt::format("dslad {}", one_line(view.status->version)), "at " + one_line(view.url)};
    if (!view.error) pieces.push_back("up " + format_duration(as_ms(view.status->uptime_ms)));
  } else {
    pieces = {"dslactl top", "at " + one_line(view.url)};
  }
  pieces.push_back(format_clock(view.time_ms));
  Section section{wrap(pieces, "  ", paper.columns), kHead, 1};
  if (view.error) {
    const std::string away =
        fmt::format("no answer from {} since {}", one_line(view.url), format_rough(as_ms(view.silent_ms)));
    std::vector<std::string> lines = wrap(words(away), " ", paper.columns);
    for (std::string& line : lines) line = coloured_if(paper.style.colour, JobState::kFailed, line);
    section.lines.insert(section.lines.begin(), lines.begin(), lines.end());
  } else if (!view.status) {
    section.lines.push_back("waiting for its answer");
  }
  return section;
}

std::string mode_text(const schema::DaemonStatus& status) {
  if (status.draining) return "stopping: takes no new jobs";
  if (status.mode == schema::QueueMode::kPaused) return "paused: no job begins";
  return status.mode == schema::QueueMode::kDraining ? "draining: no job is taken" : "open";
}

Section queue(const TopView& view, const Paper& paper) {
  const schema::DaemonStatus& status = *view.status;
  std::vector<std::string> pieces = {bold_if(paper.style.colour, "queue")};
  const bool open = !status.draining && status.mode == schema::QueueMode::kOpen;
  pieces.push_back(coloured_if(paper.style.colour && !open, JobState::kCancelled, mode_text(status)));
  const auto add = [&](JobState state, std::string_view word) {
    const auto found = status.jobs.find(std::string(to_string(state)));
    const std::uint64_t jobs = found == status.jobs.end() ? 0 : found->second;
    const std::string text = fmt::format("{} {}", format_count(jobs), word);
    const bool counts = jobs > 0 || state == JobState::kQueued || state == JobState::kRunning ||
                        state == JobState::kSucceeded || state == JobState::kFailed;
    if (counts) pieces.push_back(coloured_if(paper.style.colour && jobs > 0, state, text));
  };
  add(JobState::kQueued, "waiting");
  add(JobState::kRunning, "running");
  add(JobState::kSucceeded, "succeeded");
  add(JobState::kFailed, "failed");
  add(JobState::kCancelled, "cancelled");
  add(JobState::kExpired, "expired");
  if (view.oldest) {
    const std::int64_t waits_ms = std::max<std::int64_t>(0, view.time_ms - view.oldest->created_ms);
    pieces.push_back("oldest waits " + format_duration(static_cast<double>(waits_ms)));
  }
  if (status.waiting_tokens > 0)
    pieces.push_back(fmt::format("about {} prompt tokens wait", format_count(status.waiting_tokens)));
  if (status.drain_ms > 0) pieces.push_back("all done in about " + format_rough(as_ms(status.drain_ms)));
  return {wrap(pieces, "  ", paper.columns), kQueue, 1};
}

Section speed(const Throughput& throughput, const Paper& paper) {
  const std::optional<Rates> latest = throughput.latest();
  if (!latest) return {};
  constexpr std::size_t kNames = 9, kFigures = 11;
  const std::size_t room = paper.columns > kNames + kFigures + 8 ? paper.columns - kNames - kFigures : 0;
  const std::vector<std::optional<Rates>> history = throughput.history(std::min<std::size_t>(room, 100));
  Section section{{}, kSpeed, 3};
  const auto add = [&](const char* name, double Rates::*member) {
    std::vector<std::optional<double>> figures;
    figures.reserve(history.size());
    for (const auto& rates : history) {
      figures.push_back(rates ? std::optional((*rates).*member) : std::nullopt);
    }
    const std::string line = fmt::format("{:<{}}{:>{}}  {}", name, kNames, figure((*latest).*member),
                                         kFigures - 2, sparkline(figures, paper.style.unicode));
    section.lines.push_back(fit(line, paper.columns));
  };
  section.lines.push_back(
      bold_if(paper.style.colour, fit("throughput a second, last 5 minutes", paper.columns)));
  add("jobs", &Rates::jobs_per_s);
  add("prompt", &Rates::prompt_tokens_per_s);
  add("output", &Rates::output_tokens_per_s);
  return section;
}

std::string cache_text(const schema::WorkerInfo& worker) {
  if (worker.cache_bytes == 0) return "";
  const auto used = static_cast<double>(worker.engine.kv_bytes_used + worker.engine.state_bytes_used);
  return fmt::format("{:.0f}% of {}", 100 * used / static_cast<double>(worker.cache_bytes),
                     format_bytes(worker.cache_bytes));
}

// Columns that matter most come first: the last ones go where it is narrow.
Section workers(const TopView& view, const Paper& paper) {
  if (view.status->workers.empty()) return {{fit("no worker is connected", paper.columns)}, kWorkers, 1};
  Table table({"WORKER", ">PLAN", ">JOBS", ">PREFILL/S", ">DECODE/S", ">CACHE", "MODEL", "DEVICE"});
  for (const schema::WorkerInfo& worker : view.status->workers) {
    table.add({one_line(worker.name), std::to_string(worker.plan),
               fmt::format("{}/{}", worker.running, worker.capacity),
               figure(worker.engine.prefill_tokens_per_s), figure(worker.engine.decode_tokens_per_s),
               cache_text(worker), one_line(worker.model), one_line(worker.device)});
  }
  return {rows_of(table, paper), kWorkers, 2, true};
}

const char* glyph(LayerState state, bool unicode) {
  switch (state) {
    case LayerState::kTransformer:
      return unicode ? "·" : ".";
    case LayerState::kPlanned:
      return unicode ? "○" : "-";
    case LayerState::kDistilling:
      return unicode ? "░" : "~";
    case LayerState::kDistilled:
      return unicode ? "▒" : "o";
    case LayerState::kActive:
      return unicode ? "█" : "#";
    case LayerState::kReverted:
      return unicode ? "▒" : "r";
    case LayerState::kFailed:
      return unicode ? "×" : "x";
  }
  return "?";
}

// Of a worker that has `plan` in force. What the daemon says of a layer is true of some worker.
LayerState state_on(const schema::LayerInfo& layer, std::uint32_t plan) {
  if (layer.order >= 0 && static_cast<std::uint32_t>(layer.order) < plan) return LayerState::kActive;
  if (layer.state != LayerState::kActive) return layer.state;
  return layer.distilled ? LayerState::kDistilled : LayerState::kTransformer;
}

// A line, or more where the layers are many: what it says, and a glyph a layer.
void add_strip(std::vector<std::string>& lines, const schema::ModelLayers& model, std::uint32_t plan,
               std::size_t workers, const Paper& paper) {
  const std::string heading = fmt::format("plan {} of {}, {} {}", plan, one_line(model.model), workers,
                                          workers == 1 ? "worker" : "workers");
  const std::size_t layers = model.layers.size();
  const bool beside = layers + 2 + display_width(heading) <= paper.columns;
  if (!beside) lines.push_back(fit(heading, paper.columns));
  std::string strip;
  std::size_t taken = 0;
  for (const schema::LayerInfo& layer : model.layers) {
    if (taken == paper.columns) {
      lines.push_back(std::exchange(strip, {}));
      taken = 0;
    }
    const LayerState state = state_on(layer, plan);
    strip += coloured_if(paper.style.colour, state, glyph(state, paper.style.unicode));
    ++taken;
  }
  if (!strip.empty()) lines.push_back(beside ? strip + "  " + heading : strip);
}

// Of the glyphs; those of layers that are yet to be made only where there are such.
std::string legend(const TopView& view, const Paper& paper) {
  const auto any = [&](LayerState state) {
    return std::ranges::any_of(view.models, [&](const schema::ModelLayers& model) {
      return std::ranges::any_of(model.layers, [&](const auto& layer) { return layer.state == state; });
    });
  };
  const auto entry = [&](LayerState state, const char* name) {
    return fmt::format("  {} {}", glyph(state, paper.style.unicode), name);
  };
  std::string text = "layers:" + entry(LayerState::kTransformer, "attention").substr(1);
  if (any(LayerState::kPlanned)) text += entry(LayerState::kPlanned, "planned");
  if (any(LayerState::kDistilling)) text += entry(LayerState::kDistilling, "distilling");
  return text + entry(LayerState::kDistilled, "distilled") + entry(LayerState::kActive, "DSLA") +
         entry(LayerState::kFailed, "failed");
}

Section layers(const TopView& view, const Paper& paper) {
  Section section{{}, kLayers, 2, true};
  for (const schema::ModelLayers& model : view.models) {
    std::map<std::uint32_t, std::size_t> workers;  // by plan
    for (const schema::WorkerInfo& worker : view.status->workers) {
      if (worker.model_digest == model.model_digest) ++workers[worker.plan];
    }
    for (const auto& [plan, count] : workers) add_strip(section.lines, model, plan, count, paper);
  }
  if (section.lines.empty()) return section;
  section.lines.insert(section.lines.begin(),
                       bold_if(paper.style.colour, fit(legend(view, paper), paper.columns)));
  return section;
}

Section policy_in_force(const TopView& view, const Paper& paper) {
  if (!view.policy) return {};
  const schema::PolicyReply& reply = *view.policy;
  std::string text = fmt::format("policy {}", to_string(reply.policy));
  const char* separator = ": ";
  for (const schema::PolicyLevel& level : reply.levels) {
    text += fmt::format("{}plan {}{}", std::exchange(separator, "; "), level.plan, of_model(reply, level));
    if (level.since_ms != 0) text += " since " + format_moment(level.since_ms, view.time_ms);
    if (!level.why.empty()) text += ": " + one_line(level.why);
  }
  return {wrap(words(text), " ", paper.columns), kPolicy, 1};
}

Section jobs(const TopView& view, const Paper& paper) {
  if (view.running.empty()) return {};
  Table table({">JOB", "PROGRESS", "TASK", ">FOR", "WORKER", "CUSTOM ID", "LABELS"});
  for (const schema::JobInfo& job : view.running) {
    const std::int64_t runs_ms =
        job.started_ms == 0 ? 0 : std::max<std::int64_t>(0, view.time_ms - job.started_ms);
    table.add({std::to_string(job.id), progress_text(job), std::string(to_string(job.task)),
               format_duration(static_cast<double>(runs_ms)), one_line(job.worker), one_line(job.custom_id),
               one_line(fmt::format("{}", fmt::join(job.labels, " ")))});
  }
  return {rows_of(table, paper), kJobs, 2, true};
}

}  // namespace

std::vector<std::string> top_frame(const TopView& view, const Throughput& throughput, TerminalSize size,
                                   TopStyle style) {
  const Paper paper{size.columns, style};
  std::vector<Section> sections = {head(view, paper)};
  if (view.status) {
    sections.push_back(queue(view, paper));
    sections.push_back(policy_in_force(view, paper));
    sections.push_back(speed(throughput, paper));
    sections.push_back(workers(view, paper));
    sections.push_back(layers(view, paper));
    sections.push_back(jobs(view, paper));
  }
  std::vector<std::string> lines = lay_out(std::move(sections), size.rows);
  for (std::string& line : lines) line = fit(line, size.columns);
  return lines;
}

}  // namespace dslad::ctl
