#include "ctl/format.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <ctime>
#include <fmt/format.h>

namespace dslad::ctl {
namespace {

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
}

// U+0080 to U+009F, as two bytes of UTF-8: terminals obey these too.
bool is_c1_control(std::string_view text, std::size_t at) {
  return text[at] == '\xC2' && at + 1 < text.size() && static_cast<unsigned char>(text[at + 1]) < 0xA0;
}

std::tm local_time(std::int64_t epoch_ms) {
  const std::time_t seconds = epoch_ms / 1000;
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  return parts;
}

std::string replace_controls(std::string_view text, std::string_view keep) {
  std::string clean;
  clean.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool c1 = is_c1_control(text, i);
    const bool drop = c1 || (is_control(text[i]) && keep.find(text[i]) == std::string_view::npos);
    clean += drop ? '?' : text[i];
    if (c1) ++i;
  }
  return clean;
}

}  // namespace

std::string format_duration(double ms) {
  if (ms < 0) return "0 ms";
  if (ms < 1000) return fmt::format("{:.0f} ms", std::floor(ms));
  if (ms < 60'000) return fmt::format("{:.1f} s", std::floor(ms / 100) / 10);
  const auto seconds = static_cast<std::uint64_t>(ms / 1000);
  const std::uint64_t minutes = seconds / 60;
  const std::uint64_t hours = minutes / 60;
  if (hours == 0) return fmt::format("{} min {:02} s", minutes, seconds % 60);
  if (hours < 48) return fmt::format("{} h {:02} min", hours, minutes % 60);
  return fmt::format("{} d {:02} h", hours / 24, hours % 24);
}

std::string format_rough(double ms) {
  const auto seconds = static_cast<std::uint64_t>(std::llround(std::max(ms, 1000.0) / 1000));
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (const std::uint64_t tens = (seconds + 5) / 10; tens < 60) {
    const std::uint64_t rest = 10 * (tens % 6);
    return rest == 0 ? fmt::format("{} min", tens / 6) : fmt::format("{} min {} s", tens / 6, rest);
  }
  const std::uint64_t minutes = (seconds + 30) / 60;
  if (minutes < 60) return fmt::format("{} min", minutes);
  if (const std::uint64_t tens = (minutes + 5) / 10; tens < 48 * 6) {
    const std::uint64_t rest = 10 * (tens % 6);
    return rest == 0 ? fmt::format("{} h", tens / 6) : fmt::format("{} h {} min", tens / 6, rest);
  }
  return fmt::format("{} d", (minutes + 12 * 60) / (24 * 60));
}

std::string format_count(std::uint64_t count) {
  std::string digits = std::to_string(count);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.1f} {}", value, kUnits.at(unit));
}

std::string format_clock(std::int64_t epoch_ms) {
  const std::tm parts = local_time(epoch_ms);
  return fmt::format("{:02}:{:02}:{:02}", parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string format_date(std::int64_t epoch_ms) {
  const std::tm parts = local_time(epoch_ms);
  return fmt::format("{}-{:02}-{:02} {}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     format_clock(epoch_ms));
}

std::string format_share(double share) {
  return fmt::format("{:g}%", std::round(share * 1000) / 10);
}

std::string format_time(std::int64_t epoch_ms, std::int64_t now_ms) {
  const std::tm then = local_time(epoch_ms);
  const std::tm now = local_time(now_ms);
  const bool today = then.tm_year == now.tm_year && then.tm_yday == now.tm_yday;
  return today ? format_clock(epoch_ms) : format_date(epoch_ms);
}

std::string format_moment(std::int64_t epoch_ms, std::int64_t now_ms) {
  const auto away_ms = static_cast<double>(epoch_ms - now_ms);
  const std::string time = format_time(epoch_ms, now_ms);
  if (away_ms >= 500) return fmt::format("{} (in {})", time, format_rough(away_ms));
  return away_ms > -500 ? time + " (now)" : fmt::format("{} ({} ago)", time, format_rough(-away_ms));
}

std::int64_t wall_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

std::string one_line(std::string_view text) {
  return replace_controls(text, "");
}

std::string printable(std::string_view text) {
  return replace_controls(text, "\n\t");
}

}  // namespace dslad::ctl
