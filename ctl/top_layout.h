// Sections of lines, one under the other, in a bounded number of rows. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace dslad::ctl {

struct Section {
  std::vector<std::string> lines;
  int rank = 0;           // 0 is the most important
  std::size_t least = 1;  // lines without which it is left out
  bool list = false;      // when it is cut, its last line counts the others
};

// In the order given; a blank line between them where there is room for that. 0 rows: as many as it takes.
std::vector<std::string> lay_out(std::vector<Section> sections, std::size_t rows);

}  // namespace dslad::ctl
