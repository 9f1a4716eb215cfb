// Numbers and texts as people read them. Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dslad::daemon::ctl {

std::string format_duration(double ms);           // "820 ms", "3.2 s", "4 min 05 s", "3 h 12 min", "2 d 04 h"
std::string format_count(std::uint64_t count);    // "1,234,567"
std::string format_bytes(std::uint64_t bytes);    // "640 B", "1.5 MiB"
std::string format_clock(std::int64_t epoch_ms);  // "14:03:59", local time
std::string format_date(std::int64_t epoch_ms);   // "2025-06-11 14:03:59", local time

// One line without control characters, so that no text from elsewhere can steer the terminal or break a
// table.
std::string one_line(std::string_view text);

// The same for whole texts: line breaks and tabs stay.
std::string printable(std::string_view text);

}  // namespace dslad::daemon::ctl
