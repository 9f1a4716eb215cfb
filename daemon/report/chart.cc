#include "daemon/report/chart.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>

#include "base/html.h"

namespace dslad::daemon::report {

namespace {

constexpr double kWidth = 640, kHeight = 220;
constexpr double kLeft = 58, kRight = 12, kTop = 10, kBottom = 26;  // margins

// Values to pixels, from a round bottom to a round top.
class ValueAxis {
 public:
  ValueAxis(double least, double most, Unit unit) : logarithmic_(unit == Unit::kMs) {
    if (logarithmic_) {
      low_ = std::floor(std::log10(std::max(least, 1.0)));
      high_ = std::max(std::ceil(std::log10(std::max(most, 1.0))), low_ + 1);
      step_ = std::max(1.0, std::ceil((high_ - low_) / 5));
    } else {
      step_ = round_step(std::max(most, 1e-9) / 4, unit);
      high_ = std::max(1.0, std::ceil(most / step_ - 1e-9)) * step_;
    }
  }
  [[nodiscard]] double pixel(double value) const {
    const double at = logarithmic_ ? std::log10(std::max(value, 1.0)) : value;
    return kHeight - kBottom - (kHeight - kTop - kBottom) * (at - low_) / (high_ - low_);
  }
  [[nodiscard]] std::vector<double> ticks() const {
    std::vector<double> ticks;
    const auto steps = static_cast<int>((high_ - low_) / step_ + 1e-3);
    for (int i = 0; i <= steps; ++i) {
      const double at = low_ + i * step_;
      ticks.push_back(logarithmic_ ? std::pow(10.0, at) : at);
    }
    return ticks;
  }

 private:
  // 1, 2 or 5 times a power of ten; of what comes in pieces no part.
  static double round_step(double step, Unit unit) {
    const double power = std::pow(10.0, std::floor(std::log10(step)));
    const double factor = step / power;
    const double round = (factor <= 1 ? 1 : factor <= 2 ? 2 : factor <= 5 ? 5 : 10) * power;
    return unit == Unit::kPerSecond ? round : std::max(1.0, round);
  }

  bool logarithmic_;
  double low_ = 0, high_ = 1, step_ = 1;
};

double column(const Timeline& timeline, std::int64_t time_s) {
  const double share = static_cast<double>(time_s - timeline.begin_s) /
                       static_cast<double>(timeline.end_s() - timeline.begin_s);
  return kLeft + (kWidth - kLeft - kRight) * std::clamp(share, 0.0, 1.0);
}

// Powers of ten are read as such.
std::string tick_text(double tick, Unit unit) {
  if (unit != Unit::kMs || tick < 1000) return value_text(tick, unit);
  return tick < 1e7 ? fmt::format("{:.0f} s", tick / 1000) : fmt::format("{:.0f} ks", tick / 1e6);
}

std::string axes(const TimeChart& chart, const ValueAxis& axis) {
  std::string out;
  for (const double tick : axis.ticks()) {
    const double row = axis.pixel(tick);
    out += fmt::format("<line x1=\"{:.0f}\" y1=\"{:.1f}\" x2=\"{:.0f}\" y2=\"{:.1f}\" class=\"grid\"/>",
                       kLeft, row, kWidth - kRight, row);
    out += fmt::format("<text x=\"{:.0f}\" y=\"{:.1f}\" class=\"right\">{}</text>", kLeft - 6, row + 4,
                       tick_text(tick, chart.unit));
  }
  for (const Mark& mark : marks_of(chart.timeline)) {
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\" class=\"middle\">{}</text>",
                       column(chart.timeline, mark.time_s), kHeight - 8, mark.text);
  }
  return out;
}

// A point in the middle of its part of the timeline; alone between gaps it is a dot.
std::string line_path(const TimeChart& chart, const ChartLine& line, const ValueAxis& axis) {
  std::string path;
  std::int64_t before = 0;
  for (const auto& [time_s, value] : line.points) {
    const bool gap = path.empty() || time_s - before > chart.timeline.part_s;
    path += fmt::format("{}{:.1f} {:.1f}", gap ? "M" : "L",
                        column(chart.timeline, time_s + chart.timeline.part_s / 2), axis.pixel(value));
    if (gap) path += "h0";
    before = time_s;
  }
  return path;
}

std::string step_path(const TimeChart& chart, const ChartLine& line, const ValueAxis& axis) {
  std::string path;
  for (const auto& [time_s, value] : line.points) {
    const double x = column(chart.timeline, time_s), y = axis.pixel(value);
    path += path.empty() ? fmt::format("M{:.1f} {:.1f}", x, y) : fmt::format("H{:.1f}V{:.1f}", x, y);
  }
  return path + fmt::format("H{:.1f}", kWidth - kRight);
}

std::string bars(const TimeChart& chart, const ValueAxis& axis) {
  std::string out;
  std::map<std::int64_t, double> tops;
  for (const ChartLine& line : chart.lines) {
    for (const auto& [time_s, value] : line.points) {
      if (value <= 0) continue;
      double& top = tops[time_s];
      const double x = column(chart.timeline, time_s),
                   end = column(chart.timeline, time_s + chart.timeline.part_s);
      const double bottom_row = axis.pixel(top), top_row = axis.pixel(top + value);
      out += fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" class=\"fill {}\"><title>{}: "
          "{} "
          "{}</title></rect>",
          x, top_row, std::max(0.5, end - x - 1), bottom_row - top_row, line.colour, date_text(time_s),
          value_text(value, chart.unit), escape_html(line.name));
      top += value;
    }
  }
  return out;
}

// The highest that anything reaches, and the lowest.
std::pair<double, double> extent(const TimeChart& chart) {
  double least = 1e300, most = 0;
  std::map<std::int64_t, double> sums;
  for (const ChartLine& line : chart.lines) {
    for (const auto& [time_s, value] : line.points) {
      const double top = chart.shape == Shape::kBars ? sums[time_s] += value : value;
      least = std::min(least, value);
      most = std::max(most, top);
    }
  }
  return {least, most};
}

}  // namespace

std::string value_text(double value, Unit unit) {
  if (unit == Unit::kMs) {
    if (value < 1000) return fmt::format("{:.0f} ms", value);
    if (value < 60'000) return fmt::format("{:.3g} s", value / 1000);
    return value < 3'600'000 ? fmt::format("{:.3g} min", value / 60'000)
                             : fmt::format("{:.3g} h", value / 3'600'000);
  }
  if (value >= 1e6) return fmt::format("{:.3g} M", value / 1e6);
  if (value >= 1e4) return fmt::format("{:.3g} k", value / 1e3);
  return unit == Unit::kPerSecond && value < 100 ? fmt::format("{:.3g}", value)
                                                 : fmt::format("{:.0f}", value);
}

std::string to_html(const TimeChart& chart) {
  std::string out = fmt::format("<figure><figcaption>{}</figcaption>\n", escape_html(chart.title));
  const bool empty = std::all_of(chart.lines.begin(), chart.lines.end(),
                                 [](const ChartLine& line) { return line.points.empty(); });
  if (empty) return out + "<p class=\"none\">Nothing yet.</p></figure>\n";
  const auto [least, most] = extent(chart);
  const ValueAxis axis(least, most, chart.unit);
  out += fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">{}", kWidth, kHeight,
                     escape_html(chart.title), axes(chart, axis));
  if (chart.shape == Shape::kBars) out += bars(chart, axis);
  std::string legend;
  for (const ChartLine& line : chart.lines) {
    if (line.points.empty()) continue;
    if (chart.shape != Shape::kBars) {
      out += fmt::format(
          "<path d=\"{}\" class=\"line {}\"/>",
          chart.shape == Shape::kSteps ? step_path(chart, line, axis) : line_path(chart, line, axis),
          line.colour);
    }
    legend += fmt::format("<span><i class=\"{}\"></i>{}</span>", line.colour, escape_html(line.name));
  }
  return out + fmt::format("</svg>\n<p class=\"legend\">{}</p></figure>\n", legend);
}

}  // namespace dslad::daemon::report
