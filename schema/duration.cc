#include "schema/duration.h"

#include <array>
#include <charconv>
#include <cmath>
#include <fmt/format.h>

#include "schema/limits.h"

namespace dslad::schema {
namespace {

struct Unit {
  std::string_view name;
  double ms;
};

// A name that begins another comes after it.
constexpr std::array<Unit, 6> kTimeUnits = {
    {{"ms", 1}, {"min", 60e3}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}, {"d", 86'400e3}}};

// Takes a number from the front of `text`; false where there is none, or one that is no number to count with.
bool take_number(std::string_view& text, double& number) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || !std::isfinite(number)) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

const Unit* take_unit(std::string_view& text) {
  for (const Unit& unit : kTimeUnits) {
    if (!text.starts_with(unit.name)) continue;
    text.remove_prefix(unit.name.size());
    return &unit;
  }
  return nullptr;
}

Error no_duration(std::string_view text) {
  return invalid_argument(fmt::format(
      "'{}' is no duration: write seconds, or numbers with ms, s, m, h or d, such as 90s, 10m, 1h30m or 2d",
      text));
}

}  // namespace

Result<std::uint64_t> parse_duration(std::string_view text) {
  std::string_view rest = text;
  double total = 0;
  double last_unit = INFINITY;
  do {
    double number = 0;
    if (!take_number(rest, number)) return no_duration(text);
    if (std::signbit(number)) return invalid_argument(fmt::format("'{}' is negative", text));
    const Unit* unit = take_unit(rest);
    const bool bare = unit == nullptr;
    if (bare && (!rest.empty() || std::isfinite(last_unit))) return no_duration(text);
    const double unit_ms = bare ? 1e3 : unit->ms;
    if (unit_ms >= last_unit) return no_duration(text);
    total += number * unit_ms;
    last_unit = unit_ms;
  } while (!rest.empty());
  if (total > static_cast<double>(kMaxExpiryMs))
    return invalid_argument(fmt::format("'{}' is too long: at most ten years (3650d) are taken", text));
  return static_cast<std::uint64_t>(std::llround(total));
}

}  // namespace dslad::schema
