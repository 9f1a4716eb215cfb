#include "worker/report/chain_page.h"

#include <cmath>
#include <cstdio>
#include <fmt/format.h>
#include <map>
#include <set>
#include <string_view>

#include "base/html.h"
#include "worker/report/line_chart.h"

namespace dslad::worker {

namespace {

constexpr const char* kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Conversion chain</title><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2328}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;border-bottom:1px solid #d0d7de;text-align:right}
th{background:#f6f8fa}svg{width:100%;max-width:46rem;font:11px system-ui,sans-serif;fill:#57606a}
.grid{stroke:#d0d7de;stroke-width:.6}.title{font-weight:600;font-size:13px;fill:#1f2328}pre{background:#f6f8fa;padding:1rem;overflow:auto}
</style></head><body>
)";

std::string number(const std::optional<double>& value, const char* format = "{:.5f}") {
  return value ? fmt::format(fmt::runtime(format), *value) : "-";
}

std::string row(const std::vector<std::string>& cells, const char* tag) {
  std::string out = "<tr>";
  for (const std::string& cell : cells) out += fmt::format("<{0}>{1}</{0}>", tag, escape_html(cell));
  return out + "</tr>\n";
}

// A free object's number at `keys`, where there is one.
std::optional<double> at(const nlohmann::json& object, std::initializer_list<std::string_view> keys) {
  const nlohmann::json* value = &object;
  for (const std::string_view key : keys) {
    if (!value->is_object() || !value->contains(key)) return std::nullopt;
    value = &(*value)[key];
  }
  return value->is_number() ? std::optional(value->get<double>()) : std::nullopt;
}

std::string order_section(const ChainManifest& m) {
  std::string out = fmt::format("<h2>Order: {}</h2>\n<table>", escape_html(m.order_method));
  out += row({"position", "layer", "entropy, last query", "entropy, all", "KL alone"}, "th");
  for (std::size_t position = 0; position < m.order.size(); ++position) {
    const int layer = m.order[position];
    const LayerEvidence* e = m.evidence_of(layer);
    const bool entropy = e != nullptr && e->entropy;
    out += row({fmt::format("{}", position), fmt::format("{}", layer),
                entropy ? fmt::format("{:.3f} ± {:.3f}", e->entropy->last, e->entropy->last_spread) : "-",
                entropy ? fmt::format("{:.3f}", e->entropy->all) : "-", e != nullptr ? number(e->kl) : "-"},
               "td");
  }
  return out + "</table>\n";
}

// The stages that any layer passed through; the two that every chain has come first.
std::vector<std::string> stages_of(const ChainManifest& m) {
  std::set<std::string> further;
  for (const DistilledLayer& layer : m.distilled) {
    for (const auto& [name, value] : layer.losses.items()) {
      // "long_context": what a stage on texts of its own was called before stages were a list.
      if (name.starts_with("stage_") || name == "long_context") further.insert(name);
    }
  }
  std::vector<std::string> out = {"layerwise", "chained"};
  out.insert(out.end(), further.begin(), further.end());
  return out;
}

std::string stage_cell(const nlohmann::json& losses, const std::string& stage) {
  const auto undone = at(losses, {stage, "undone_kl"});
  return number(at(losses, {stage, "kl"})) + (undone ? fmt::format(" ({:.5f}, undone)", *undone) : "");
}

std::string layers_section(const ChainManifest& m) {
  if (m.distilled.empty()) return "<p>No layer is distilled yet.</p>\n";
  std::string out = "<h2>Layers: divergence on held-out text after each stage</h2>\n<table>";
  const std::vector<std::string> stages = stages_of(m);
  std::vector<std::string> cells = {"plan", "layer", "initialised"};
  cells.insert(cells.end(), stages.begin(), stages.end());
  cells.insert(cells.end(), {"history gate", "recency gate", "tokens"});
  out += row(cells, "th");
  for (std::size_t i = 0; i < m.distilled.size(); ++i) {
    const DistilledLayer& layer = m.distilled[i];
    cells = {fmt::format("{}", i + 1), fmt::format("{}", layer.layer),
             number(at(layer.losses, {"initialised", "kl"}))};
    for (const std::string& stage : stages) cells.push_back(stage_cell(layer.losses, stage));
    cells.insert(cells.end(), {number(at(layer.losses, {"gates", "history", "median"}), "{:.4f}"),
                               number(at(layer.losses, {"gates", "recency", "median"}), "{:.4f}"),
                               number(at(layer.losses, {"tokens"}), "{:.0f}")});
    out += row(cells, "td");
  }
  return out +
         "</table>\n<p>Gates: median over channels of the mean gate a on held-out text; 1 keeps "
         "everything.</p>\n";
}

std::string gates_chart(const ChainManifest& m) {
  LineChart chart{"Learned gates by layer (mean a: 10%, 50%, 90% of the channels)", "layer", "a", false, {}};
  for (const char* state : {"history", "recency"}) {
    for (const char* quantile : {"low", "median", "high"}) {
      ChartLine line{fmt::format("{} {}", state, quantile), {}};
      for (const DistilledLayer& layer : m.distilled) {
        if (const auto value = at(layer.losses, {"gates", state, quantile}))
          line.points.emplace_back(layer.layer, *value);
      }
      std::ranges::sort(line.points);
      if (!line.points.empty()) chart.lines.push_back(std::move(line));
    }
  }
  return chart.lines.empty() ? "" : to_svg(chart);
}

std::string plans_section(const ChainManifest& m) {
  if (m.plans.empty()) return "<p>No plan is measured yet.</p>\n";
  LineChart divergence{
      "KL(plan 0 || plan), held out", "layers converted", "nats a token", true, {{"kl", {}}}};
  LineChart quality{
      "Generated scores relative to plan 0", "layers converted", "share", false, {{"quality", {{0, 1}}}}};
  std::string table = "<h2>Quality by plan</h2>\n<table>";
  table += row({"plan", "KL", "perplexity ratio", "quality"}, "th");
  for (const PlanQuality& plan : m.plans) {
    if (plan.kl) divergence.lines[0].points.emplace_back(plan.plan, *plan.kl);
    if (plan.quality) quality.lines[0].points.emplace_back(plan.plan, *plan.quality);
    table += row({fmt::format("{}", plan.plan), number(plan.kl), number(plan.perplexity_ratio, "{:.4f}"),
                  number(plan.quality, "{:.4f}")},
                 "td");
  }
  table += "</table>\n" + to_svg(divergence);
  if (quality.lines[0].points.size() > 1) table += to_svg(quality);
  return table;
}

// The upper end of a group named such as "<=2k", in tokens.
std::optional<double> upper_end(const nlohmann::json& group) {
  if (!group.is_object() || !group.contains("group") || !group["group"].is_string()) return std::nullopt;
  double tokens = 0;
  char unit = ' ';
  if (std::sscanf(group["group"].get<std::string>().c_str(), "<=%lf%c", &tokens, &unit) < 1)
    return std::nullopt;
  return unit == 'k' ? tokens * 1024 : tokens;
}

// An answer's score by the distance of what it rests on, all question files together.
LineChart retention_chart(const ChainManifest& m, const char* score, std::string title) {
  LineChart chart{std::move(title), "log2 of tokens, at most", "share of the answers", false, {}};
  for (const PlanQuality& plan : m.plans) {
    std::map<double, std::pair<double, double>> sums;  // by upper end: right answers, items
    for (const auto& [file, scores] : plan.scores.items()) {
      if (!scores.is_object() || !scores.contains("by_distance")) continue;
      for (const auto& group : scores["by_distance"]) {
        const auto mean = at(group, {score, "mean"}), items = at(group, {"items"});
        const auto end = upper_end(group);
        if (!mean || !items || !end) continue;
        sums[*end].first += *mean * *items;
        sums[*end].second += *items;
      }
    }
    ChartLine line{fmt::format("plan {}", plan.plan), {}};
    for (const auto& [end, sum] : sums) line.points.emplace_back(std::log2(end), sum.first / sum.second);
    if (!line.points.empty()) chart.lines.push_back(std::move(line));
  }
  return chart;
}

std::string retention_section(const ChainManifest& m) {
  std::string charts;
  for (const auto& [score, title] : {std::pair{"exact_match", "Exact answers"},
                                     std::pair{"contains", "Answers that contain a right one"}}) {
    const LineChart chart =
        retention_chart(m, score, fmt::format("{} by distance of the fact from the document's end", title));
    if (!chart.lines.empty()) charts += to_svg(chart);
  }
  return charts.empty() ? "" : "<h2>Retention by fact distance</h2>\n" + charts;
}

std::string losses_section(const std::vector<nlohmann::json>& log) {
  std::map<std::string, LineChart> by_stage;
  std::map<std::tuple<std::string, std::string, int>, ChartLine> lines;
  for (const nlohmann::json& line : log) {
    if (!line.contains("stage") || !line.contains("step") || !line.contains("loss")) continue;
    const std::string stage = line["stage"];
    const std::string of = line.contains("plan") ? "plan" : "layer";  // what learned in the step
    const int number = line.value(of, -1);
    ChartLine& curve = lines[{stage, of, number}];
    curve.name = fmt::format("{} {}", of, number);
    curve.points.emplace_back(line["step"].get<double>(), line["loss"].get<double>());
  }
  for (auto& [key, line] : lines) {
    const std::string& stage = std::get<0>(key);
    LineChart& chart = by_stage[stage];
    chart.title = fmt::format("Training loss, stage {}", stage);
    chart.x_label = "step";
    chart.y_label = "loss";
    chart.logarithmic = true;
    chart.lines.push_back(std::move(line));
  }
  std::string out = by_stage.empty() ? "" : "<h2>Losses</h2>\n";
  for (const auto& [stage, chart] : by_stage) out += to_svg(chart);
  return out;
}

// Free objects go in as they are, so that nothing measured is lost on the page.
std::string scores_section(const ChainManifest& m) {
  std::string out;
  for (const PlanQuality& plan : m.plans) {
    if (plan.scores.empty()) continue;
    out += fmt::format("<details><summary>plan {}</summary><pre>{}</pre></details>\n", plan.plan,
                       escape_html(plan.scores.dump(1)));
  }
  return out.empty() ? "" : "<h2>Scores by task, length and kind</h2>\n" + out;
}

}  // namespace

std::string chain_page(const ChainManifest& m, const std::vector<nlohmann::json>& log) {
  std::string out = kHead;
  out += fmt::format(
      "<h1>Conversion chain</h1>\n<p>Teacher {}, {} layers; {} distilled; variant <b>{}</b>; made by {} "
      "{}.</p>\n",
      escape_html(m.teacher_digest), m.layers, m.distilled.size(), escape_html(m.variants_text()),
      escape_html(m.program), escape_html(m.version));
  out += plans_section(m) + retention_section(m) + order_section(m) + layers_section(m) + gates_chart(m) +
         losses_section(log) + scores_section(m);
  out += fmt::format("<h2>Recipe</h2>\n<pre>{}</pre>\n</body></html>\n", escape_html(m.recipe.dump(1)));
  return out;
}

}  // namespace dslad::worker
