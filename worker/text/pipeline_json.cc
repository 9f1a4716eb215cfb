#include "worker/text/pipeline_json.h"

#include <fmt/format.h>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "worker/files/json_fields.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr int kDeepest = 8;  // sequences within sequences

Error not_implemented(std::string_view part, std::string_view what) {
  return {ErrorCode::kInvalidArgument, fmt::format("{}: {} is not implemented", part, what)};
}

// Calls `take` with each step of `description` and its type: of itself, or of the list that a Sequence has.
Status for_each_step(const json& description, const char* part, const char* list,
                     const std::function<Status(const json&, const std::string&)>& take, int depth = 0) {
  JsonFields fields(description, part);
  const std::string type = fields.text("type", "");
  if (!fields.status().ok()) return fields.status();
  if (type != "Sequence") return take(description, type);
  const json* const steps = fields.find(list);
  if (steps == nullptr || !steps->is_array() || depth == kDeepest) {
    return Error{ErrorCode::kCorrupt, fmt::format("{}: a Sequence without a list of {}", part, list)};
  }
  for (const json& step : *steps) {
    Status taken = for_each_step(step, part, list, take, depth + 1);
    if (!taken) return taken;
  }
  return ok_status();
}

struct Pattern {
  std::string text;
  bool is_regex;
};

// {"String": "..."} or {"Regex": "..."}
std::optional<Pattern> pattern_of(JsonFields& fields) {
  const json* const pattern = fields.find("pattern");
  if (pattern != nullptr && pattern->is_object() && pattern->size() == 1 && pattern->begin()->is_string()) {
    if (pattern->contains("Regex")) return Pattern{pattern->begin()->get<std::string>(), true};
    if (pattern->contains("String")) return Pattern{pattern->begin()->get<std::string>(), false};
  }
  fields.refuse("pattern", "must be an object with a Regex or a String");
  return std::nullopt;
}

Result<std::optional<NormalizerStep>> normalizer_step(const json& description, const std::string& type) {
  JsonFields fields(description, "normalizer: " + type);
  std::optional<NormalizerStep> step;
  if (type == "NFC") step = NormalizationForm::kNfc;
  if (type == "NFD") step = NormalizationForm::kNfd;
  if (type == "NFKC") step = NormalizationForm::kNfkc;
  if (type == "NFKD") step = NormalizationForm::kNfkd;
  if (type == "Lowercase") step = LowercaseStep{};
  if (type == "Prepend") step = PrependStep{fields.text("prepend")};
  if (type == "Strip") step = StripStep{fields.boolean("strip_left"), fields.boolean("strip_right")};
  if (type == "Replace") {
    if (auto pattern = pattern_of(fields)) {
      step = ReplaceStep{std::move(pattern->text), pattern->is_regex, fields.text("content")};
    }
  }
  if (!fields.status().ok()) return fields.status().error();
  return step;
}

std::optional<SplitBehavior> behavior_of(JsonFields& fields, const char* absent) {
  const std::string name = fields.text("behavior", absent);
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  fields.refuse("behavior", fmt::format("\"{}\" is not implemented", name));
  return std::nullopt;
}

// Older files say add_prefix_space alone.
MetaspaceStep::Prefix prefix_of(JsonFields& fields) {
  const bool adds = fields.boolean("add_prefix_space", true);
  const std::string scheme = fields.text("prepend_scheme", adds ? "always" : "never");
  if (scheme == "first") return MetaspaceStep::Prefix::kFirst;
  if (scheme == "never") return MetaspaceStep::Prefix::kNever;
  if (scheme != "always") fields.refuse("prepend_scheme", fmt::format("\"{}\" is not implemented", scheme));
  return MetaspaceStep::Prefix::kAlways;
}

Result<std::optional<PreTokenizerStep>> pre_tokenizer_step(const json& description, const std::string& type) {
  JsonFields fields(description, "pre_tokenizer: " + type);
  std::optional<PreTokenizerStep> step;
  if (type == "ByteLevel") {
    step = ByteLevelStep{fields.boolean("add_prefix_space", true), fields.boolean("use_regex", true)};
  }
  if (type == "Digits") step = DigitsStep{fields.boolean("individual_digits", false)};
  if (type == "Punctuation") {
    if (const auto behavior = behavior_of(fields, "Isolated")) step = PunctuationStep{*behavior};
  }
  if (type == "Metaspace") {
    step =
        MetaspaceStep{fields.text("replacement", "\u2581"), prefix_of(fields), fields.boolean("split", true)};
  }
  if (type == "Split") {
    auto pattern = pattern_of(fields);
    const auto behavior = behavior_of(fields, "Isolated");
    const bool invert = fields.boolean("invert", false);
    if (pattern && behavior) step = SplitStep{std::move(pattern->text), pattern->is_regex, *behavior, invert};
  }
  if (!fields.status().ok()) return fields.status().error();
  return step;
}

TokenDecoding undoing(const TokenizerDefinition& definition) {
  TokenDecoding decoding;
  decoding.byte_fallback = definition.bpe.byte_fallback;
  for (const PreTokenizerStep& step : definition.pre_tokenizer) {
    if (const auto* const bytes = std::get_if<ByteLevelStep>(&step)) {
      decoding.byte_level = true;
      decoding.strips_first_space = decoding.strips_first_space || bytes->add_prefix_space;
    } else if (const auto* const metaspace = std::get_if<MetaspaceStep>(&step)) {
      decoding.replacements.emplace_back(metaspace->replacement, " ");
      decoding.strips_first_space = metaspace->prefix != MetaspaceStep::Prefix::kNever;
    }
  }
  return decoding;
}

Status add_decoder(const json& description, const std::string& type, bool& fused, TokenDecoding& decoding) {
  JsonFields fields(description, "decoder: " + type);
  if (type == "ByteLevel") {
    decoding.byte_level = true;
  } else if (type == "ByteFallback") {
    decoding.byte_fallback = true;
  } else if (type == "Fuse") {
    fused = true;
  } else if (type == "Metaspace") {
    decoding.replacements.emplace_back(fields.text("replacement", "\u2581"), " ");
    decoding.strips_first_space = prefix_of(fields) != MetaspaceStep::Prefix::kNever;
  } else if (type == "Replace") {
    const auto pattern = pattern_of(fields);
    if (pattern && pattern->is_regex) fields.refuse("pattern", "a Regex is not implemented");
    if (pattern) decoding.replacements.emplace_back(pattern->text, fields.text("content"));
  } else if (type == "Strip") {
    const std::string content = fields.text("content", " ");
    const auto start = fields.integer("start", 0, 1);
    if (content != " " || fields.integer("stop", 0, 0) != 0 || !fused)
      fields.refuse("content", "more than a text's first space is not implemented");
    decoding.strips_first_space = start == 1;
  } else {
    return not_implemented("decoder", fmt::format("\"{}\"", type));
  }
  return fields.status();
}

}  // namespace

Result<std::vector<NormalizerStep>> parse_normalizer(const json* description) {
  std::vector<NormalizerStep> steps;
  if (description == nullptr) return steps;
  const Status parsed = for_each_step(
      *description, "normalizer", "normalizers", [&](const json& step, const std::string& type) {
        auto made = normalizer_step(step, type);
        if (!made) return Status(made.error());
        if (!*made) return Status(not_implemented("normalizer", fmt::format("\"{}\"", type)));
        steps.push_back(**std::move(made));
        return ok_status();
      });
  if (!parsed) return parsed.error();
  return steps;
}

Result<std::vector<PreTokenizerStep>> parse_pre_tokenizer(const json* description) {
  std::vector<PreTokenizerStep> steps;
  if (description == nullptr) return steps;
  const Status parsed = for_each_step(
      *description, "pre_tokenizer", "pretokenizers", [&](const json& step, const std::string& type) {
        auto made = pre_tokenizer_step(step, type);
        if (!made) return Status(made.error());
        if (!*made) return Status(not_implemented("pre_tokenizer", fmt::format("\"{}\"", type)));
        steps.push_back(**std::move(made));
        return ok_status();
      });
  if (!parsed) return parsed.error();
  return steps;
}

Result<TokenDecoding> parse_decoder(const json* description, const TokenizerDefinition& definition) {
  if (description == nullptr) return undoing(definition);
  TokenDecoding decoding;
  bool fused = false;
  const Status parsed = for_each_step(
      *description, "decoder", "decoders",
      [&](const json& step, const std::string& type) { return add_decoder(step, type, fused, decoding); });
  if (!parsed) return parsed.error();
  // A byte-level decoder does not undo a space that encoding put there; texts are to come back as they were.
  if (decoding.byte_level) decoding.strips_first_space = undoing(definition).strips_first_space;
  return decoding;
}

}  // namespace dslad::worker
