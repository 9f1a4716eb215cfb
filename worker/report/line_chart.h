// A line chart as one inline SVG element: self-contained, readable without scripts. A pure function.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace dslad::worker {

struct ChartLine {
  std::string name;
  std::vector<std::pair<double, double>> points;  // not finite ones are left out
};

struct LineChart {
  std::string title, x_label, y_label;
  bool logarithmic = false;  // y; points <= 0 are left out
  std::vector<ChartLine> lines;
};

std::string to_svg(const LineChart& chart);

}  // namespace dslad::worker
