#include "ctl/amount.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <fmt/format.h>

#include "ctl/format.h"
#include "schema/duration.h"

namespace dslad::ctl {
namespace {

// Takes a number from the front of `text`; false where there is none, or one that is no number to count with.
bool take_number(std::string_view& text, double& number) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || !std::isfinite(number)) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

template <typename Parse, typename Write>
CLI::Validator rewritten(Parse parse, Write write) {
  const auto rewrite = [parse, write](std::string& text) -> std::string {
    const auto parsed = parse(text);
    if (!parsed) return parsed.error().message;
    text = write(*parsed);
    return {};
  };
  return CLI::Validator(rewrite, "");
}

}  // namespace

Result<std::uint64_t> parse_moment(std::string_view text, std::int64_t now_ms) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return schema::parse_duration(text);
  const auto number = [](std::string_view digits, int most) {
    int value = -1;
    const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    const bool whole = code == std::errc() && end == digits.data() + digits.size() && digits.size() <= 2;
    return whole && value >= 0 && value <= most ? value : -1;
  };
  const int hour = number(text.substr(0, colon), 23);
  const int minute = number(text.substr(colon + 1), 59);
  if (hour < 0 || minute < 0) {
    return invalid_argument(
        fmt::format("'{}' is no time of day; give HH:MM, such as 22:30, or a duration, such as 2h", text));
  }
  const auto now = static_cast<std::time_t>(now_ms / 1'000);
  std::tm local{};
  ::localtime_r(&now, &local);
  local.tm_mday += local.tm_hour * 60 + local.tm_min < hour * 60 + minute ? 0 : 1;
  local.tm_hour = hour;
  local.tm_min = minute;
  local.tm_sec = 0;
  local.tm_isdst = -1;  // as it is that day
  const std::int64_t then_ms = static_cast<std::int64_t>(std::mktime(&local)) * 1'000;
  return static_cast<std::uint64_t>(std::max<std::int64_t>(1, then_ms - now_ms));
}

Result<double> parse_share(std::string_view text) {
  std::string_view rest = text;
  double number = 0;
  if (!take_number(rest, number) || (!rest.empty() && rest != "%")) {
    return invalid_argument(
        fmt::format("'{}' is no share: write a number from 0 to 1, or a percentage, such as 98%", text));
  }
  const double share = rest.empty() ? number : number / 100;
  if (share >= 0 && share <= 1 && !std::signbit(number)) return share;
  const bool percentage = rest.empty() && number > 1 && number <= 100;
  return invalid_argument(percentage
                              ? fmt::format("'{}' is above 1: write {:g} or {}%", text, number / 100, text)
                              : fmt::format("'{}' is not from 0 to 1 (0% to 100%)", text));
}

CLI::Option* add_duration(CLI::App& verb, const std::string& name, std::optional<std::uint64_t>& ms,
                          const std::string& help, std::uint64_t least_ms) {
  const auto parse = [least_ms](const std::string& text) -> Result<std::uint64_t> {
    Result<std::uint64_t> parsed = schema::parse_duration(text);
    if (!parsed || *parsed >= least_ms) return parsed;
    return invalid_argument(
        fmt::format("'{}' is too short: at least {}", text, format_duration(static_cast<double>(least_ms))));
  };
  const auto write = [](std::uint64_t parsed) { return std::to_string(parsed); };
  return verb.add_option(name, ms, help)->transform(rewritten(parse, write))->type_name("DURATION");
}

CLI::Option* add_share(CLI::App& verb, const std::string& name, std::optional<double>& share,
                       const std::string& help) {
  const auto write = [](double parsed) { return fmt::format("{}", parsed); };  // of all its digits
  const auto parse = [](const std::string& text) { return parse_share(text); };
  return verb.add_option(name, share, help)->transform(rewritten(parse, write))->type_name("SHARE");
}

}  // namespace dslad::ctl
