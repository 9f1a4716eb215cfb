#include "daemon/report/page.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "daemon/report/chart.h"
#include "daemon/report/tables.h"

namespace dslad::daemon::report {
namespace {

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2328;--soft:#59636e;--rule:#d1d9e0;--card:#f6f8fa;
--blue:#1f6feb;--green:#1a7f37;--red:#d1242f;--amber:#b07d00;--violet:#8250df;--teal:#0f766e;--pink:#bf3989;--grey:#8c959f}
@media screen and (prefers-color-scheme:dark){:root{--paper:#0d1117;--ink:#e6edf3;--soft:#9198a1;--rule:#30363d;--card:#161b22;
--blue:#4493f8;--green:#3fb950;--red:#f85149;--amber:#d29922;--violet:#ab7df8;--teal:#2dd4bf;--pink:#db61a2;--grey:#6e7681}}
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;background:var(--paper);color:var(--ink)}
h1{margin-bottom:.2rem}h2{margin:2.2rem 0 .6rem;border-bottom:1px solid var(--rule)}h3{margin:1.2rem 0 .4rem}
small,.note,.none{color:var(--soft);font-weight:400}
.cards{display:flex;flex-wrap:wrap;gap:.8rem;margin:1rem 0}.cards div{background:var(--card);border:1px solid var(--rule);
border-radius:6px;padding:.5rem 1rem;min-width:6rem}.cards b{display:block;font-size:1.4rem}.cards span{color:var(--soft)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(26rem,100%),1fr));gap:1.2rem}
figure{margin:0;break-inside:avoid}figcaption{font-weight:600}
figure svg{display:block;width:100%;font:11px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--rule);stroke-width:.7}.right{text-anchor:end}.middle{text-anchor:middle}
.line{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}.fill{fill:var(--c)}
.legend{margin:.2rem 0 0;font-size:.85rem}.legend span{margin-right:1rem;white-space:nowrap}
.legend i,.dot{display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.4em;background:var(--c)}
.strip{display:flex;flex-wrap:wrap;gap:3px;margin:.4rem 0}.strip i{min-width:1.6rem;padding:.1rem .2rem;border-radius:3px;background:var(--c);
color:var(--paper);font:11px/1.6 system-ui,sans-serif;text-align:center}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;margin:.4rem 0;width:100%}
td,th{padding:.25rem .7rem;border-bottom:1px solid var(--rule);text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{background:var(--card)}th,.n{white-space:nowrap}.n{text-align:right;font-variant-numeric:tabular-nums}tr{break-inside:avoid}
.bar{width:5rem;height:.6rem}.share{display:inline-block;min-width:3.6rem;font-weight:400}.fill.none{--c:var(--rule)}
.c0{--c:var(--blue)}.c1{--c:var(--violet)}.c2{--c:var(--teal)}.c3{--c:var(--pink)}.c4{--c:var(--amber)}.c5{--c:var(--green)}
.c6{--c:var(--red)}.c7{--c:var(--grey)}.q0{--c:#8c959f}.q1{--c:#3b82f6}.q2{--c:#06b6d4}.q3{--c:#10b981}.q4{--c:#84cc16}.q5{--c:#eab308}.q6{--c:#f97316}.q7{--c:#ef4444}
.ok{--c:var(--green)}.bad{--c:var(--red)}.warn{--c:var(--amber)}.idle{--c:var(--grey)}
@media print{body{max-width:none;margin:0;font-size:11px}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.wide{overflow:visible}.legend{font-size:9px}h2,h3{break-after:avoid}}
)";

struct State {
  const char* name;
  const char* colour;
};
constexpr std::array kEnds = {State{"succeeded", "ok"}, State{"failed", "bad"}, State{"expired", "warn"},
                              State{"cancelled", "idle"}};
// Of a few plans out of an order, from cool to hot.
constexpr std::array kScale = {"q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7"};
constexpr std::array kColours = {"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"};

std::int64_t begin_of(const Facts& facts, std::size_t part) {
  return facts.timeline.begin_s + facts.timeline.part_s * static_cast<std::int64_t>(part);
}

std::string cards(const Facts& facts) {
  std::uint64_t all = 0;
  for (const auto& [state, jobs] : facts.jobs) all += jobs;
  std::string out =
      fmt::format("<div class=\"cards\"><div><b>{}</b><span>jobs</span></div>", count_text(all));
  for (const char* state : {"queued", "running", "succeeded", "failed", "cancelled", "expired"}) {
    const auto found = facts.jobs.find(state);
    out += fmt::format("<div><b>{}</b><span>{}</span></div>",
                       count_text(found == facts.jobs.end() ? 0 : found->second), state);
  }
  return out + "</div>\n";
}

std::string ends_chart(const Facts& facts) {
  TimeChart chart{"Jobs that ended, by state", Shape::kBars, Unit::kCount, facts.timeline, {}};
  for (const State& state : kEnds) {
    ChartLine line{state.name, state.colour, {}};
    for (std::size_t i = 0; i < facts.parts.size(); ++i) {
      const auto found = facts.parts[i].ended.find(state.name);
      if (found != facts.parts[i].ended.end())
        line.points.emplace_back(begin_of(facts, i), static_cast<double>(found->second));
    }
    chart.lines.push_back(std::move(line));
  }
  return to_html(chart);
}

std::string times_chart(const Facts& facts, const char* title, std::optional<Percentiles> Part::*member) {
  TimeChart chart{title, Shape::kLines, Unit::kMs, facts.timeline, {{"p50", "c0", {}}, {"p95", "c1", {}}}};
  for (std::size_t i = 0; i < facts.parts.size(); ++i) {
    const std::optional<Percentiles>& percentiles = facts.parts[i].*member;
    if (!percentiles) continue;
    chart.lines[0].points.emplace_back(begin_of(facts, i), percentiles->p50);
    chart.lines[1].points.emplace_back(begin_of(facts, i), percentiles->p95);
  }
  return to_html(chart);
}

// A part in which nothing ended had no throughput, unless nothing ever had.
std::string tokens_chart(const Facts& facts, const char* title, const char* colour,
                         std::uint64_t Part::*member) {
  TimeChart chart{title, Shape::kLines, Unit::kPerSecond, facts.timeline, {{"tokens a second", colour, {}}}};
  const bool any = std::any_of(facts.parts.begin(), facts.parts.end(),
                               [member](const Part& part) { return part.*member > 0; });
  for (std::size_t i = 0; any && i < facts.parts.size(); ++i) {
    const std::int64_t begin_s = std::max(begin_of(facts, i), facts.first_s);
    const std::int64_t end_s = std::min(begin_of(facts, i + 1), facts.last_s);
    chart.lines[0].points.emplace_back(begin_of(facts, i),
                                       static_cast<double>(facts.parts[i].*member) /
                                           static_cast<double>(std::max<std::int64_t>(1, end_s - begin_s)));
  }
  return to_html(chart);
}

std::string job_plans_chart(const Facts& facts) {
  TimeChart chart{"Jobs that succeeded, by plan", Shape::kBars, Unit::kCount, facts.timeline, {}};
  for (std::size_t i = 0; i < facts.plans.size(); ++i) {
    const std::size_t shade = i * (kScale.size() - 1) / std::max<std::size_t>(1, facts.plans.size() - 1);
    ChartLine line{"plan " + facts.plans[i].name, kScale[shade], {}};
    for (std::size_t part = 0; part < facts.parts.size(); ++part) {
      for (const auto& [plan, jobs] : facts.parts[part].plans) {
        if (std::to_string(plan) == facts.plans[i].name)
          line.points.emplace_back(begin_of(facts, part), static_cast<double>(jobs));
      }
    }
    chart.lines.push_back(std::move(line));
  }
  return to_html(chart);
}

std::string plans_chart(const Facts& facts) {
  TimeChart chart{"Plan in force, by worker", Shape::kSteps, Unit::kPlan, facts.timeline, {}};
  for (std::size_t i = 0; i < facts.worker_plans.size(); ++i) {
    const WorkerPlans& worker = facts.worker_plans[i];
    ChartLine line{worker.name, kColours[i % kColours.size()], {}};
    for (const PlanAt& at : worker.plans) line.points.emplace_back(at.time_s, at.plan);
    chart.lines.push_back(std::move(line));
  }
  return to_html(chart);
}

std::string heading(const Facts& facts) {
  std::string out = "<h1>dslad</h1>\n<p class=\"note\">";
  out += facts.since_s
             ? fmt::format("Jobs submitted from {} to {}", date_text(*facts.since_s), date_text(facts.now_s))
             : fmt::format("All jobs, as of {}", date_text(facts.now_s));
  out += ". Times are UTC.";
  if (!facts.jobs.empty()) {
    out += fmt::format(" A bar or a point is {}; percentiles are of the jobs that ended in it.",
                       length_text(facts.timeline.part_s));
  }
  return out + "</p>\n";
}

}  // namespace

std::string to_page(const Facts& facts) {
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\"><head><meta "
      "charset=\"utf-8\"/>"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/><title>dslad, "
      "{}</title><style>{}</style>"
      "</head><body>\n",
      date_text(facts.now_s), kStyle);
  out += heading(facts) + cards(facts);
  out += "<h2>Over time</h2>\n<div class=\"charts\">\n";
  out += ends_chart(facts) + times_chart(facts, "From submit to begin", &Part::queue_ms) +
         times_chart(facts, "Prefill", &Part::prefill_ms) + times_chart(facts, "Decode", &Part::decode_ms) +
         tokens_chart(facts, "Prompt tokens a second", "c2", &Part::prompt_tokens) +
         tokens_chart(facts, "Output tokens a second", "c3", &Part::output_tokens);
  out += "</div>\n<h2>Plans and conversions</h2>\n<div class=\"charts\">\n" + plans_chart(facts) +
         job_plans_chart(facts) + "</div>\n";
  out += "<h3>Jobs by plan</h3>\n" + groups_table("plan", facts.plans);
  out += "<h3>Changes that the policy made</h3>\n" + policy_table(facts.policy);
  out += "<h3>Conversions, the latest</h3>\n" + conversions_table(facts.conversions);
  out += "<h2>Layers</h2>\n" + layers_section(facts.layers);
  out += "<h2>Failures</h2>\n" + failures_table(facts.failures);
  out += "<h2>Jobs by task</h2>\n" + groups_table("task", facts.tasks);
  out += "<h2>Jobs by client</h2>\n" + groups_table("client", facts.clients);
  out += "<h2>Jobs by label</h2>\n" + groups_table("label", facts.labels);
  return out + "</body></html>\n";
}

}  // namespace dslad::daemon::report
