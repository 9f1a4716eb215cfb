// A frame of `dslactl top`: a view as lines for a terminal of a given size. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "ctl/terminal.h"
#include "ctl/throughput.h"
#include "ctl/top_view.h"

namespace dslad::ctl {

struct TopStyle {
  bool colour = false;
  bool unicode = false;  // else ASCII, but for texts from elsewhere
};

// No line is wider than `size.columns`, and there are at most `size.rows`; 0 rows: as many as it takes. Where
// room is short, jobs give way first, then workers, layers and throughput; a list that is cut says so.
std::vector<std::string> top_frame(const TopView& view, const Throughput& throughput, TerminalSize size,
                                   TopStyle style);

}  // namespace dslad::ctl
