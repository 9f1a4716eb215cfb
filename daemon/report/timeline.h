// Time in equal parts, and its marks on an axis. All times are seconds since the epoch, shown in UTC. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace dslad::daemon::report {

struct Timeline {
  std::int64_t begin_s = 0;  // a multiple of part_s
  std::int64_t part_s = 60;
  std::size_t parts = 1;

  [[nodiscard]] std::int64_t end_s() const { return begin_s + part_s * static_cast<std::int64_t>(parts); }
};

// At most 72 parts of a usual length, a second to thirty days, that hold both moments.
Timeline timeline_of(std::int64_t first_s, std::int64_t last_s);

struct Mark {
  std::int64_t time_s;
  std::string text;  // "14:30", "06-11", "2025-06"
};

// Where the axis says which time it is: at most eight places.
std::vector<Mark> marks_of(const Timeline& timeline);

std::string length_text(std::int64_t seconds);  // "30 s", "5 min", "3 h", "7 d"
std::string date_text(std::int64_t time_s);     // "2025-06-11 14:03"

}  // namespace dslad::daemon::report
