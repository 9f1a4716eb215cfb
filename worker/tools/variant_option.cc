#include "worker/tools/variant_option.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <optional>
#include <string>

namespace dslad::worker {
namespace {

constexpr double kLargestLayer = 1023;
constexpr double kLargestWindow = 1 << 20;

std::optional<double> number(std::string_view text, double low, double high) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= low && value <= high))
    return std::nullopt;
  return value;
}

Error bad_value(std::string_view key, std::string_view value, std::string_view wanted) {
  return {ErrorCode::kInvalidArgument, fmt::format("variant: {}={} must be {}", key, value, wanted)};
}

Status set_part(DslaVariant& variant, std::string_view key, std::string_view value) {
  if (key == "rotary") {
    if (value != "0" && value != "1") return bad_value(key, value, "0 or 1");
    variant.rotary = value == "1";
    return ok_status();
  }
  if (key == "delta") {
    if (value != "0" && value != "1") return bad_value(key, value, "0 or 1");
    variant.delta = value == "1";
    return ok_status();
  }
  if (key == "window") {
    const auto parsed = number(value, 0, kLargestWindow);
    if (!parsed || *parsed != std::floor(*parsed)) return bad_value(key, value, "a number of tokens");
    variant.window = static_cast<std::int64_t>(*parsed);
    return ok_status();
  }
  if (key == "sinks") {
    const auto parsed = number(value, 0, static_cast<double>(kernels::kMostSinks));
    if (!parsed || *parsed != std::floor(*parsed))
      return bad_value(key, value, fmt::format("a whole number from 0 to {}", kernels::kMostSinks));
    variant.sinks = static_cast<std::int64_t>(*parsed);
    return ok_status();
  }
  if (key == "states") {
    if (value != "1" && value != "2") return bad_value(key, value, "1 or 2");
    variant.states = value == "1" ? 1 : 2;
    return ok_status();
  }
  if (key == "expand_k") {
    const auto parsed = number(value, 1, kMaxExpandK);
    if (!parsed || *parsed != std::floor(*parsed)) {
      return bad_value(key, value, fmt::format("a whole number from 1 to {}", kMaxExpandK));
    }
    variant.expand_k = static_cast<int>(*parsed);
    return ok_status();
  }
  if (key == "feature_map") {
    const auto map = parse_feature_map(value);
    if (!map) return map.error();
    variant.feature_map = *map;
    return ok_status();
  }
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("variant: there is no part '{}'; the parts are rotary, feature_map, states, "
                           "delta, expand_k, window, sinks",
                           key)};
}

// `chain`: whose window and sinks are meant where the text names none; null: the name's are.
Result<DslaVariant> parse(std::string_view text, const DslaVariant* chain) {
  std::string_view rest = text;
  const auto next = [&rest] {
    const std::string_view part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    return part;
  };
  auto variant = named_variant(next());
  if (!variant) return variant;
  if (chain != nullptr) {
    variant->window = chain->window;
    variant->sinks = chain->sinks;
  }
  bool names_sinks = false, names_states = false;
  while (!rest.empty()) {
    const std::string_view part = next();
    const std::size_t equals = part.find('=');
    const std::string_view key = part.substr(0, equals);
    const std::string_view value = equals == std::string_view::npos ? "" : part.substr(equals + 1);
    const Status set = set_part(*variant, key, value);
    if (!set) return set.error();
    names_sinks = names_sinks || key == "sinks";
    names_states = names_states || key == "states";
  }
  if (variant->delta && !names_states) variant->states = 1;      // what it has
  if (variant->window == 0 && !names_sinks) variant->sinks = 0;  // those were of the window
  const Status possible = check_variant(*variant);
  if (!possible) return possible.error().with_context("variant");
  variant->name = std::string(text);
  return variant;
}

}  // namespace

Result<DslaVariant> parse_variant_option(std::string_view text) {
  return parse(text, nullptr);
}

std::string variant_option(const DslaVariant& variant) {
  return fmt::format("{},rotary={},feature_map={},states={},delta={},expand_k={},window={},sinks={}",
                     variant.form == LayerForm::kDslad ? "dslad" : "paper", variant.rotary ? 1 : 0,
                     to_string(variant.feature_map), variant.states, variant.delta ? 1 : 0, variant.expand_k,
                     variant.window, variant.sinks);
}

Result<std::pair<int, DslaVariant>> parse_layer_variant_option(std::string_view text,
                                                               const DslaVariant& chain) {
  const std::size_t equals = text.find('=');
  const auto layer = number(text.substr(0, equals), 0, kLargestLayer);
  if (equals == std::string_view::npos || !layer || *layer != std::floor(*layer)) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("--layer-variant {} must be LAYER=VARIANT, such as 3=dslad,rotary=0", text)};
  }
  auto variant = parse(text.substr(equals + 1), &chain);
  if (!variant) return variant.error();
  return std::pair(static_cast<int>(*layer), *std::move(variant));
}

}  // namespace dslad::worker
