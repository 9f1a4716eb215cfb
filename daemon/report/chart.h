// Figures over time as one inline SVG element with its title and legend: no scripts, colours from the page's
// style sheet. Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "daemon/report/timeline.h"

namespace dslad::daemon::report {

enum class Shape : std::uint8_t {
  kLines,  // a break where a part of the timeline has no point
  kSteps,  // a value holds until the next
  kBars    // one on top of the other
};
enum class Unit : std::uint8_t { kCount, kMs, kPerSecond, kPlan };

struct ChartLine {
  std::string name;
  const char* colour;                                   // a class of the style sheet
  std::vector<std::pair<std::int64_t, double>> points;  // time, value; ascending
};

struct TimeChart {
  std::string title;
  Shape shape = Shape::kLines;
  Unit unit = Unit::kCount;  // kMs: the axis is logarithmic
  Timeline timeline;
  std::vector<ChartLine> lines;
};

// Without any point a sentence that says so.
std::string to_html(const TimeChart& chart);

std::string value_text(double value, Unit unit);

}  // namespace dslad::daemon::report
