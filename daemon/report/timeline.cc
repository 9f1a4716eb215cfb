#include "daemon/report/timeline.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <fmt/format.h>

namespace dslad::daemon::report {
namespace {

constexpr std::int64_t kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour;
constexpr std::array kParts = {std::int64_t{1},
                               std::int64_t{5},
                               std::int64_t{10},
                               std::int64_t{30},
                               kMinute,
                               5 * kMinute,
                               10 * kMinute,
                               30 * kMinute,
                               kHour,
                               3 * kHour,
                               6 * kHour,
                               12 * kHour,
                               kDay,
                               7 * kDay,
                               30 * kDay};
constexpr std::array kMarks = {
    std::int64_t{10}, std::int64_t{30}, kMinute,    5 * kMinute, 15 * kMinute, 30 * kMinute, kHour,
    3 * kHour,        6 * kHour,        12 * kHour, kDay,        2 * kDay,     7 * kDay,     14 * kDay,
    30 * kDay,        90 * kDay,        365 * kDay};
constexpr std::int64_t kMostParts = 72, kMostMarks = 8;

std::string formatted(std::int64_t time_s, const char* format) {
  const std::time_t seconds = time_s;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  return {text.data(), std::strftime(text.data(), text.size(), format, &parts)};
}

}  // namespace

Timeline timeline_of(std::int64_t first_s, std::int64_t last_s) {
  last_s = std::max(first_s, last_s);
  std::int64_t part_s = kParts.back();
  for (const std::int64_t length : kParts) {
    if (last_s / length - first_s / length < kMostParts) {
      part_s = length;
      break;
    }
  }
  // What was ages ago, by a clock that was wrong, gets longer parts and not more.
  while (last_s / part_s - first_s / part_s >= kMostParts) part_s *= 2;
  const std::int64_t begin_s = first_s / part_s * part_s;
  return {begin_s, part_s, static_cast<std::size_t>((last_s - begin_s) / part_s + 1)};
}

std::vector<Mark> marks_of(const Timeline& timeline) {
  const std::int64_t span_s = timeline.end_s() - timeline.begin_s;
  std::int64_t step_s = kMarks.back();
  for (const std::int64_t step : kMarks) {
    if (span_s / step <= kMostMarks) {
      step_s = step;
      break;
    }
  }
  while (span_s / step_s > kMostMarks) step_s *= 2;
  const char* format = step_s < kMinute ? "%H:%M:%S" : step_s < kDay ? "%H:%M" : "%m-%d";
  if (span_s > 300 * kDay) format = "%Y-%m";
  const bool with_days = step_s < kDay && span_s > kDay;
  std::vector<Mark> marks;
  for (std::int64_t at = (timeline.begin_s + step_s - 1) / step_s * step_s; at <= timeline.end_s();
       at += step_s) {
    marks.push_back({at, formatted(at, with_days && at % kDay == 0 ? "%m-%d" : format)});
  }
  return marks;
}

std::string length_text(std::int64_t seconds) {
  if (seconds % kDay == 0) return fmt::format("{} d", seconds / kDay);
  if (seconds % kHour == 0) return fmt::format("{} h", seconds / kHour);
  return seconds % kMinute == 0 ? fmt::format("{} min", seconds / kMinute) : fmt::format("{} s", seconds);
}

std::string date_text(std::int64_t time_s) {
  return formatted(time_s, "%Y-%m-%d %H:%M");
}

}  // namespace dslad::daemon::report
