#include "worker/report/line_chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <limits>

#include "base/html.h"

namespace dslad::worker {

namespace {

constexpr double kWidth = 640, kHeight = 300;
constexpr double kLeft = 64, kRight = 150, kTop = 30, kBottom = 44;  // margins
constexpr int kTicks = 5;
constexpr std::array kColors = {"#1f6feb", "#d1242f", "#1a7f37", "#9a6700",
                                "#8250df", "#0f766e", "#bf3989", "#57606a"};

// One axis: values to pixels.
class Axis {
 public:
  Axis(double from, double to, bool logarithmic) : from_(from), to_(to), logarithmic_(logarithmic) {}

  void include(double value) {
    low_ = std::min(low_, scaled(value));
    high_ = std::max(high_, scaled(value));
  }
  void finish() {
    if (low_ > high_) low_ = 0, high_ = 1;
    if (high_ - low_ < 1e-12) low_ -= 0.5, high_ += 0.5;
  }
  [[nodiscard]] bool shows(double value) const {
    return std::isfinite(value) && (!logarithmic_ || value > 0);
  }
  [[nodiscard]] double pixel(double value) const {
    return from_ + (to_ - from_) * (scaled(value) - low_) / (high_ - low_);
  }
  // The value at `part` of the axis.
  [[nodiscard]] double at(double part) const {
    const double value = low_ + (high_ - low_) * part;
    return logarithmic_ ? std::pow(10.0, value) : value;
  }

 private:
  [[nodiscard]] double scaled(double value) const { return logarithmic_ ? std::log10(value) : value; }

  double from_, to_;
  bool logarithmic_;
  double low_ = std::numeric_limits<double>::infinity(), high_ = -std::numeric_limits<double>::infinity();
};

std::string axes(const LineChart& chart, const Axis& x, const Axis& y) {
  std::string out;
  for (int i = 0; i <= kTicks; ++i) {
    const double part = static_cast<double>(i) / kTicks;
    const double column = x.pixel(x.at(part)), row = y.pixel(y.at(part));
    out += fmt::format("<line x1='{:.1f}' y1='{:.1f}' x2='{:.1f}' y2='{:.1f}' class='grid'/>", kLeft, row,
                       kWidth - kRight, row);
    out += fmt::format("<text x='{:.1f}' y='{:.1f}' text-anchor='end'>{:.3g}</text>", kLeft - 6, row + 4,
                       y.at(part));
    out += fmt::format("<text x='{:.1f}' y='{:.1f}' text-anchor='middle'>{:.4g}</text>", column,
                       kHeight - kBottom + 16, x.at(part));
  }
  out += fmt::format("<text x='{:.1f}' y='18' class='title'>{}</text>", kLeft, escape_html(chart.title));
  out += fmt::format("<text x='{:.1f}' y='{:.1f}' text-anchor='middle'>{}</text>",
                     (kLeft + kWidth - kRight) / 2, kHeight - 8, escape_html(chart.x_label));
  out += fmt::format(
      "<text x='14' y='{0:.1f}' text-anchor='middle' transform='rotate(-90 14 {0:.1f})'>{1}</text>",
      (kTop + kHeight - kBottom) / 2, escape_html(chart.y_label));
  return out;
}

}  // namespace

std::string to_svg(const LineChart& chart) {
  Axis x(kLeft, kWidth - kRight, false), y(kHeight - kBottom, kTop, chart.logarithmic);
  for (const ChartLine& line : chart.lines) {
    for (const auto& [px, py] : line.points) {
      if (!x.shows(px) || !y.shows(py)) continue;
      x.include(px);
      y.include(py);
    }
  }
  x.finish();
  y.finish();
  std::string out = fmt::format("<svg viewBox='0 0 {} {}' role='img'>{}", kWidth, kHeight, axes(chart, x, y));
  for (std::size_t i = 0; i < chart.lines.size(); ++i) {
    const char* color = kColors[i % kColors.size()];
    std::string points;
    for (const auto& [px, py] : chart.lines[i].points) {
      if (x.shows(px) && y.shows(py)) points += fmt::format("{:.1f},{:.1f} ", x.pixel(px), y.pixel(py));
    }
    out += fmt::format("<polyline points='{}' fill='none' stroke='{}' stroke-width='1.6'/>", points, color);
    const double row = kTop + 14 * static_cast<double>(i);
    out += fmt::format("<text x='{:.1f}' y='{:.1f}' fill='{}'>{}</text>", kWidth - kRight + 8, row + 4, color,
                       escape_html(chart.lines[i].name));
  }
  return out + "</svg>\n";
}

}  // namespace dslad::worker
