#include "ctl/top_layout.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>

namespace dslad::ctl {
namespace {

// How many lines each section gets: first the least of each, then the rest, by rank.
std::vector<std::size_t> divide(const std::vector<Section>& sections, std::size_t rows) {
  std::vector<std::size_t> order(sections.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return sections[a].rank < sections[b].rank; });
  std::vector<std::size_t> given(sections.size(), 0);
  for (const std::size_t i : order) {
    const std::size_t least = std::min(sections[i].least, sections[i].lines.size());
    if (least > rows) continue;
    given[i] = least;
    rows -= least;
  }
  for (const std::size_t i : order) {
    if (given[i] == 0) continue;
    const std::size_t more = std::min(sections[i].lines.size() - given[i], rows);
    given[i] += more;
    rows -= more;
  }
  return given;
}

void cut(Section& section, std::size_t lines) {
  const std::size_t hidden = section.lines.size() - lines;
  section.lines.resize(lines);
  if (section.list && hidden > 0 && lines > 1) section.lines.back() = fmt::format("and {} more", hidden + 1);
}

}  // namespace

std::vector<std::string> lay_out(std::vector<Section> sections, std::size_t rows) {
  std::erase_if(sections, [](const Section& section) { return section.lines.empty(); });
  if (rows == 0) rows = std::numeric_limits<std::size_t>::max();
  const std::vector<std::size_t> given = divide(sections, rows);
  std::size_t taken = 0, shown = 0;
  for (std::size_t i = 0; i < sections.size(); ++i) {
    cut(sections[i], given[i]);
    taken += given[i];
    shown += given[i] > 0 ? 1 : 0;
  }
  const bool airy = shown > 0 && rows - taken >= shown - 1;
  std::vector<std::string> lines;
  for (const Section& section : sections) {
    if (airy && !lines.empty() && !section.lines.empty()) lines.emplace_back();
    lines.insert(lines.end(), section.lines.begin(), section.lines.end());
  }
  return lines;
}

}  // namespace dslad::ctl
