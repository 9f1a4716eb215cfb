// Durations and shares as people write them. Pure; safe from any thread.
// Errors: kInvalidArgument, naming the text, what is wrong with it and what to write instead.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace dslad::ctl {

// Milliseconds from `now_ms` until a moment: after a duration, or at the next time of day "22:30", local
// time.
Result<std::uint64_t> parse_moment(std::string_view text, std::int64_t now_ms);

// From 0 to 1, of "0.98" or "98%".
Result<double> parse_share(std::string_view text);

// Options with such arguments. `least_ms`: what is shorter is refused.
CLI::Option* add_duration(CLI::App& verb, const std::string& name, std::optional<std::uint64_t>& ms,
                          const std::string& help, std::uint64_t least_ms = 1);
CLI::Option* add_share(CLI::App& verb, const std::string& name, std::optional<double>& share,
                       const std::string& help);

}  // namespace dslad::ctl
