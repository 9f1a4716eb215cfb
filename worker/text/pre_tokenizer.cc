#include "worker/text/pre_tokenizer.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "worker/files/json_fields.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

Error not_implemented(std::string_view what) {
  return {ErrorCode::kInvalidArgument, fmt::format("pre_tokenizer: {} is not implemented", what)};
}

std::string type_of(const json& description) {
  if (!description.is_object() || !description.contains("type") || !description["type"].is_string())
    return {};
  return description["type"].get<std::string>();
}

// The list of a Sequence; nullptr for anything else.
const json* steps_of(const json& description) {
  if (type_of(description) != "Sequence" || !description.contains("pretokenizers")) return nullptr;
  const json& list = description["pretokenizers"];
  return list.is_array() ? &list : nullptr;
}

}  // namespace

bool PreTokenizer::is_byte_level(const json& description) {
  if (type_of(description) == "ByteLevel") return true;
  const json* const steps = steps_of(description);
  if (steps == nullptr) return false;
  for (const json& step : *steps) {
    if (type_of(step) == "ByteLevel") return true;
  }
  return false;
}

Result<PreTokenizer> PreTokenizer::parse(const json& description) {
  PreTokenizer result;
  const json* const steps = steps_of(description);
  const json single = steps == nullptr ? json::array({description}) : json();
  for (const json& step : steps == nullptr ? single : *steps) {
    const Status added = result.add(step);
    if (!added) return added.error();
  }
  return result;
}

Result<PreTokenizer> PreTokenizer::gpt2() {
  PreTokenizer result;
  const Status added = result.add_step(Regex::compile(kGpt2Pattern), true);
  if (!added) return added.error();
  return result;
}

Status PreTokenizer::add(const json& description) {
  const std::string type = type_of(description);
  if (type == "ByteLevel") return add_byte_level(description);
  if (type == "Split") return add_split(description);
  if (type == "Digits") {
    JsonFields fields(description, "pre_tokenizer: Digits");
    const bool individual = fields.boolean("individual_digits", false);
    if (!fields.status().ok()) return fields.status();
    return add_step(Regex::compile(individual ? R"(\p{N})" : R"(\p{N}+)"), true);
  }
  return not_implemented(fmt::format("the type \"{}\"", type));
}

Status PreTokenizer::add_byte_level(const json& description) {
  JsonFields fields(description, "pre_tokenizer: ByteLevel");
  const bool prefix_space = fields.boolean("add_prefix_space", true);
  const bool use_pattern = fields.boolean("use_regex", true);
  if (!fields.status().ok()) return fields.status();
  // There every piece would get a space, which no model is known to want.
  if (prefix_space && !steps_.empty()) return not_implemented("add_prefix_space after another step");
  adds_prefix_space_ = adds_prefix_space_ || prefix_space;
  return use_pattern ? add_step(Regex::compile(kGpt2Pattern), true) : ok_status();
}

Status PreTokenizer::add_split(const json& description) {
  JsonFields fields(description, "pre_tokenizer: Split");
  const std::string behavior = fields.text("behavior", "Isolated");
  const bool invert = fields.boolean("invert", false);
  if (!fields.status().ok()) return fields.status();
  // Inverted, the words are what the pattern matches: removing the others keeps the matches alone.
  const bool keep_rest = behavior == "Isolated";
  if (!keep_rest && !(behavior == "Removed" && invert)) {
    return not_implemented(fmt::format("Split with behavior \"{}\", invert {}", behavior, invert));
  }
  const json* const pattern = fields.find("pattern");
  if (pattern != nullptr && pattern->is_object() && pattern->size() == 1 && pattern->begin()->is_string()) {
    const auto text = pattern->begin()->get<std::string>();
    if (pattern->contains("Regex")) return add_step(Regex::compile(text), keep_rest);
    if (pattern->contains("String")) return add_step(Regex::literal(text), keep_rest);
  }
  return not_implemented("Split without a Regex or String pattern");
}

Status PreTokenizer::add_step(Result<Regex> pattern, bool keep_rest) {
  if (!pattern) return pattern.error().with_context("pre_tokenizer");
  steps_.push_back({*std::move(pattern), keep_rest});
  return ok_status();
}

Result<std::vector<std::string_view>> PreTokenizer::split(std::string_view text) const {
  std::vector<std::string_view> pieces;
  if (!text.empty()) pieces.push_back(text);
  for (const Step& step : steps_) {
    std::vector<std::string_view> words;
    const Status cut = step.pattern.split(pieces, step.keep_rest, words);
    if (!cut) return cut.error();
    pieces = std::move(words);
  }
  return pieces;
}

}  // namespace dslad::worker
