#include "schema/day_window.h"

#include <fmt/format.h>
#include <optional>

#include "base/utf8.h"
#include "schema/limits.h"

namespace dslad::schema {
namespace {

constexpr int kHours = 24, kMinutes = 60;

std::optional<int> two_digits(std::string_view text, int below) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (text.size() != 2 || !digit(text[0]) || !digit(text[1])) return std::nullopt;
  const int value = (text[0] - '0') * 10 + (text[1] - '0');
  if (value >= below) return std::nullopt;
  return value;
}

// "HH:MM"; 24:00 is the day's end.
std::optional<int> minute_of(std::string_view text) {
  if (text == "24:00") return kHours * kMinutes;
  if (text.size() != 5 || text[2] != ':') return std::nullopt;
  const std::optional<int> hour = two_digits(text.substr(0, 2), kHours),
                           minute = two_digits(text.substr(3), kMinutes);
  if (!hour || !minute) return std::nullopt;
  return *hour * kMinutes + *minute;
}

}  // namespace

Result<DayWindow> DayWindow::parse(std::string_view text) {
  if (text.empty()) return DayWindow{};
  const std::size_t dash = text.find('-');
  if (dash != std::string_view::npos) {
    const std::optional<int> from = minute_of(text.substr(0, dash)), to = minute_of(text.substr(dash + 1));
    if (from && to) return DayWindow{*from, *to};
  }
  return Error{ErrorCode::kInvalidArgument, fmt::format("'{}' is no part of a day; write it as 22:00-06:00",
                                                        utf8_prefix(text, kMaxShownBytes))};
}

}  // namespace dslad::schema
