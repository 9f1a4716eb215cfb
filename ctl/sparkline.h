// Figures as a row of blocks, one column each. Pure; safe from any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace dslad::ctl {

// The largest is a full block, zero the lowest mark, nothing a blank. Without `unicode` in ASCII.
std::string sparkline(const std::vector<std::optional<double>>& figures, bool unicode);

}  // namespace dslad::ctl
