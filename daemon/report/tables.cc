#include "daemon/report/tables.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <string_view>

#include "base/html.h"
#include "daemon/report/chart.h"

namespace dslad::daemon::report {

namespace {

// A table's column: its header, and whether it holds figures.
struct Column {
  const char* header;
  bool figures = false;
};

constexpr std::uint32_t kNoPlan = std::numeric_limits<std::uint32_t>::max();  // behind all others
constexpr const char* kNone = "<p class=\"none\">None.</p>\n";

class TableText {
 public:
  explicit TableText(std::vector<Column> columns) : columns_(std::move(columns)) {
    out_ = "<div class=\"wide\"><table><thead><tr>";
    for (const Column& column : columns_) out_ += cell("th", column, escape_html(column.header));
    out_ += "</tr></thead><tbody>\n";
  }
  // `cells` are HTML already.
  void add(const std::vector<std::string>& cells) {
    out_ += "<tr>";
    for (std::size_t c = 0; c < cells.size(); ++c) out_ += cell("td", columns_[c], cells[c]);
    out_ += "</tr>\n";
  }
  std::string text() { return out_ + "</tbody></table></div>\n"; }

 private:
  static std::string cell(const char* tag, const Column& column, const std::string& html) {
    return fmt::format("<{0}{1}>{2}</{0}>", tag, column.figures ? " class=\"n\"" : "", html);
  }

  std::vector<Column> columns_;
  std::string out_;
};

// "2025-06-11 14:03:59" of the database's "2025-06-11T14:03:59.123Z".
std::string moment(const std::string& at) {
  std::string text = escape_html(at.substr(0, 19));
  std::replace(text.begin(), text.end(), 'T', ' ');
  return text;
}

std::string times(const std::optional<Percentiles>& percentiles) {
  return percentiles ? fmt::format("{} / {}", value_text(percentiles->p50, Unit::kMs),
                                   value_text(percentiles->p95, Unit::kMs))
                     : "";
}

std::string measured(const std::optional<double>& figure) {
  return figure ? fmt::format("{:.4g}", *figure) : "";
}

const char* colour_of(std::string_view state) {
  if (state == "active") return "ok";
  if (state == "distilled" || state == "distilling") return "c0";
  if (state == "reverted") return "warn";
  return state == "failed" ? "bad" : "idle";
}

std::string state_cell(const std::string& state) {
  return fmt::format("<i class=\"dot {}\"></i>{}", colour_of(state), escape_html(state));
}

// A share of plan 0's quality as a bar behind its number.
std::string quality_cell(const std::optional<double>& quality) {
  if (!quality) return "";
  return fmt::format(
      "<svg class=\"bar\" viewBox=\"0 0 100 10\"><rect width=\"100\" height=\"10\" class=\"fill none\"/>"
      "<rect width=\"{:.1f}\" height=\"10\" class=\"fill c0\"/></svg><b class=\"share\">{:.1f}%</b>",
      100 * std::clamp(*quality, 0.0, 1.0), 100 * *quality);
}

std::string strip(const std::vector<Layer>& layers) {
  std::string out = "<p class=\"strip\">";
  for (const Layer& layer : layers) {
    out += fmt::format("<i class=\"{}\" title=\"layer {}: {}\">{}</i>", colour_of(layer.state), layer.layer,
                       escape_html(layer.state), layer.layer);
  }
  return out + "</p>\n";
}

// `layers`: by their number. The table is in the order of conversion, so that each row is a plan.
std::string layers_of_model(std::vector<Layer> layers) {
  std::string out = fmt::format("<h3>{} <small>{}</small></h3>\n", escape_html(layers.front().model),
                                escape_html(layers.front().digest.substr(0, 12)));
  out += strip(layers);
  std::stable_sort(layers.begin(), layers.end(), [](const Layer& a, const Layer& b) {
    return a.plan.value_or(kNoPlan) < b.plan.value_or(kNoPlan);
  });
  TableText table({{"layer", true},
                   {"state"},
                   {"workers", true},
                   {"plan", true},
                   {"entropy", true},
                   {"KL", true},
                   {"quality of the plan", true},
                   {"latest reason"}});
  for (const Layer& layer : layers) {
    table.add({std::to_string(layer.layer), state_cell(layer.state), std::to_string(layer.workers_active),
               layer.plan ? std::to_string(*layer.plan) : "", measured(layer.entropy), measured(layer.kl),
               quality_cell(layer.quality), escape_html(layer.reason)});
  }
  return out + table.text();
}

}  // namespace

std::string count_text(std::uint64_t count) {
  std::string digits = std::to_string(count);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string groups_table(const char* what, const std::vector<Group>& groups) {
  if (groups.empty()) return kNone;
  TableText table({{what},
                   {"jobs", true},
                   {"succeeded", true},
                   {"failed", true},
                   {"waited, p50 / p95", true},
                   {"submit to end, p50 / p95", true},
                   {"prompt tokens", true},
                   {"output tokens", true}});
  for (const Group& group : groups) {
    table.add({group.name.empty() ? "<em>none</em>" : escape_html(group.name), count_text(group.jobs),
               count_text(group.succeeded), count_text(group.failed), times(group.queue_ms),
               times(group.total_ms), count_text(group.prompt_tokens), count_text(group.output_tokens)});
  }
  return table.text() + (groups.size() < kGroups
                             ? ""
                             : fmt::format("<p class=\"note\">The {} with most jobs.</p>\n", kGroups));
}

std::string failures_table(const std::vector<Failure>& failures) {
  if (failures.empty()) return kNone;
  TableText table({{"state"}, {"error"}, {"message"}, {"jobs", true}, {"latest"}});
  for (const Failure& failure : failures) {
    table.add({escape_html(failure.state), escape_html(failure.code), escape_html(failure.message),
               count_text(failure.jobs), moment(failure.last_at)});
  }
  return table.text();
}

std::string conversions_table(const std::vector<Conversion>& conversions) {
  if (conversions.empty()) return kNone;
  TableText table({{"time"},
                   {"worker"},
                   {"model"},
                   {"layer", true},
                   {"change"},
                   {"plan", true},
                   {"waiting", true},
                   {"reason"}});
  for (const Conversion& one : conversions) {
    table.add({moment(one.at), escape_html(one.worker), escape_html(one.model), std::to_string(one.layer),
               escape_html(one.from) + " → " + state_cell(one.to), std::to_string(one.plan),
               count_text(one.queued), escape_html(one.reason)});
  }
  return table.text();
}

std::string policy_table(const std::vector<PolicyEvent>& events) {
  if (events.empty()) return kNone;
  TableText table({{"time"}, {"policy"}, {"model"}, {"plan"}, {"waiting", true}, {"why"}});
  for (const PolicyEvent& event : events) {
    table.add({moment(event.at), escape_html(event.policy), escape_html(event.model),
               fmt::format("{} → {}", event.from, event.to), count_text(event.waiting),
               escape_html(event.why)});
  }
  return table.text();
}

std::string layers_section(const std::vector<Layer>& layers) {
  if (layers.empty()) return "<p class=\"none\">No worker has announced a model yet.</p>\n";
  std::string out;
  for (auto begin = layers.begin(); begin != layers.end();) {
    const auto end = std::find_if(begin, layers.end(),
                                  [begin](const Layer& layer) { return layer.digest != begin->digest; });
    out += layers_of_model({begin, end});
    begin = end;
  }
  return out;
}

}  // namespace dslad::daemon::report
