#include "ctl/sparkline.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace dslad::ctl {
namespace {

constexpr std::array<const char*, 8> kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr std::array<const char*, 8> kAscii = {"_", ".", ":", "-", "=", "+", "*", "#"};

}  // namespace

std::string sparkline(const std::vector<std::optional<double>>& figures, bool unicode) {
  double largest = 0;
  for (const std::optional<double>& figure : figures) largest = std::max(largest, figure.value_or(0));
  const auto& marks = unicode ? kBlocks : kAscii;
  std::string line;
  for (const std::optional<double>& figure : figures) {
    if (!figure) {
      line += ' ';
      continue;
    }
    const double share = largest > 0 ? std::clamp(*figure / largest, 0.0, 1.0) : 0;
    line += marks.at(static_cast<std::size_t>(std::ceil(share * (marks.size() - 1))));
  }
  return line;
}

}  // namespace dslad::ctl
