#include "worker/tools/stage_option.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fmt/format.h>

namespace dslad::worker {
namespace {

constexpr double kMostSteps = 1 << 30;
constexpr double kShortestSequence = 16, kLongestSequence = 1 << 20;
constexpr double kHighestRate = 1e3, kHighestDivergence = 1e3;

Error bad_stage(std::string_view text, std::string_view why) {
  return {ErrorCode::kInvalidArgument, fmt::format("--stage {}: {}", text, why)};
}

// What a part with a number may be.
struct NumberPart {
  std::string_view key, wanted;
  double low, high;
  bool whole;
};

constexpr std::array kNumberParts = {
    NumberPart{"steps", "a whole number above 0", 1, kMostSteps, true},
    NumberPart{"rate", "a number above 0", 1e-12, kHighestRate, false},
    NumberPart{"above", "nats a token", 0, kHighestDivergence, false},
    NumberPart{"sequence", "tokens, from 16 on", kShortestSequence, kLongestSequence, true},
};

std::optional<double> number(std::string_view text, const NumberPart& part) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  const bool fits = value >= part.low && value <= part.high;
  return fits && (!part.whole || value == std::floor(value)) ? std::optional(value) : std::nullopt;
}

void set_number(StageArgument& out, std::string_view key, double value) {
  if (key == "steps") out.stage.options.set_steps(static_cast<std::int64_t>(value));
  if (key == "rate") out.stage.options.rate = value;
  if (key == "above") out.stage.above_kl = value;
  if (key == "sequence") out.sequence = static_cast<std::int64_t>(value);
}

Status set_part(StageArgument& out, std::string_view key, std::string_view value) {
  if (key == "text") {
    if (value.empty()) return Error{ErrorCode::kInvalidArgument, "text= must name a file"};
    out.files.emplace_back(value);
    return ok_status();
  }
  const auto* part = std::ranges::find(kNumberParts, key, &NumberPart::key);
  if (part == kNumberParts.end()) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("there is no part '{}'; the parts are steps, rate, above, text, sequence", key)};
  }
  const auto parsed = number(value, *part);
  if (!parsed)
    return Error{ErrorCode::kInvalidArgument, fmt::format("{}={} must be {}", key, value, part->wanted)};
  set_number(out, key, *parsed);
  return ok_status();
}

}  // namespace

Result<StageArgument> parse_stage_option(std::string_view text) {
  std::string_view rest = text;
  const auto next = [&rest] {
    const std::string_view part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    return part;
  };
  StageArgument out;
  const std::string_view loss = next();
  if (loss != to_string(Stage::kLayerwise) && loss != to_string(Stage::kChained)) {
    return bad_stage(text, "it must begin with layerwise or chained, as in chained,steps=300,above=0.05");
  }
  out.stage.loss = loss == to_string(Stage::kLayerwise) ? Stage::kLayerwise : Stage::kChained;
  while (!rest.empty()) {
    const std::string_view part = next();
    const std::size_t equals = std::min(part.find('='), part.size());
    const std::string_view value = part.substr(std::min(equals + 1, part.size()));
    const Status set = set_part(out, part.substr(0, equals), value);
    if (!set) return bad_stage(text, set.error().message);
  }
  if (out.stage.options.steps == 0) return bad_stage(text, "it needs steps=NUMBER");
  if (out.sequence && out.files.empty()) {
    return bad_stage(text, "sequence= is of the stage's own texts; name them by text=FILE");
  }
  return out;
}

}  // namespace dslad::worker
