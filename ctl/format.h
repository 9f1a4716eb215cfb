// Numbers and texts as people read them. Pure, but for wall_ms(); safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dslad::ctl {

std::string format_duration(double ms);           // "820 ms", "3.2 s", "4 min 05 s", "3 h 12 min", "2 d 04 h"
std::string format_rough(double ms);              // of a prediction: "40 s", "3 min 10 s", "2 h 20 min"
std::string format_count(std::uint64_t count);    // "1,234,567"
std::string format_bytes(std::uint64_t bytes);    // "640 B", "1.5 MiB"
std::string format_clock(std::int64_t epoch_ms);  // "14:03:59", local time
std::string format_date(std::int64_t epoch_ms);   // "2025-06-11 14:03:59", local time
std::string format_share(double share);           // "98%", "98.3%"

// The clock where it is of the same local day as `now_ms`, else the date.
std::string format_time(std::int64_t epoch_ms, std::int64_t now_ms);
// That, and how far from now: "14:03:59 (in 2 min)", "14:03:59 (2 min ago)".
std::string format_moment(std::int64_t epoch_ms, std::int64_t now_ms);

std::int64_t wall_ms();  // now, milliseconds since the epoch

// One line without control characters, so that no text from elsewhere can steer the terminal or break a
// table.
std::string one_line(std::string_view text);

// The same for whole texts: line breaks and tabs stay.
std::string printable(std::string_view text);

}  // namespace dslad::ctl
