#include "worker/model/rope_config.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr double kMaxFactor = 1e6;
constexpr std::int64_t kMaxContext = 1 << 24;

double yarn_scale(double factor, double by) {
  return factor <= 1.0 ? 1.0 : 0.1 * by * std::log(factor) + 1.0;
}

// Keys that transformers has for one type and ignores with the others. `finetuned` tells people something.
void refuse_unknown_rope_keys(JsonFields& rope) {
  rope.refuse_unknown({"rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings",
                       "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate",
                       "low_freq_factor", "high_freq_factor", "partial_rotary_factor", "finetuned"});
}

// One object of a type and its parameters.
class RopeReader {
 public:
  RopeReader(JsonFields rope, const RopeContext& context) : rope_(std::move(rope)), context_(context) {}

  // `original`: original_max_position_embeddings outside the object, which transformers prefers.
  RopeConfig read(double theta, std::optional<std::int64_t> original) {
    out_.theta = rope_.number("rope_theta", 1.0, 1e15, theta);
    if (rope_.number("partial_rotary_factor", 0.0, 1.0, 1.0) != 1.0) {
      rope_.refuse("partial_rotary_factor", "only rotary embeddings over the whole head are implemented");
    }
    const char* const key = rope_.find("rope_type") != nullptr ? "rope_type" : "type";
    const std::string type = rope_.text(key, "default");
    if (rope_.text("type", type) != type) rope_.refuse("type", "rope_type is another; remove one of them");
    original_ = original;
    if (type == "linear") {
      read_factor(RopeType::kLinear);
    } else if (type == "dynamic") {
      rope_.number("factor", 1.0, kMaxFactor, 1.0);  // of what it would be beyond the stated context
    } else if (type == "llama3") {
      read_llama3();
    } else if (type == "yarn") {
      read_yarn();
    } else if (type != "default") {
      rope_.refuse(key, "the rotary embeddings default, linear, dynamic, llama3 and yarn are implemented");
    }
    refuse_unknown_rope_keys(rope_);
    return out_;
  }

 private:
  void read_factor(RopeType type) {
    out_.type = type;
    out_.factor = rope_.number("factor", 1.0, kMaxFactor);
  }
  void read_original() {
    const std::int64_t inside =
        rope_.integer("original_max_position_embeddings", 1, kMaxContext, context_.max_position_embeddings);
    out_.original_context = original_.value_or(inside);
  }
  void read_llama3() {
    read_factor(RopeType::kLlama3);
    read_original();
    out_.low_frequency_factor = rope_.number("low_freq_factor", 1e-6, kMaxFactor);
    out_.high_frequency_factor = rope_.number("high_freq_factor", 1e-6, kMaxFactor);
    if (out_.high_frequency_factor <= out_.low_frequency_factor)
      rope_.refuse("high_freq_factor", "must be greater than low_freq_factor");
  }
  void read_yarn() {
    out_.type = RopeType::kYarn;
    read_original();
    const double implied =
        static_cast<double>(context_.max_position_embeddings) / static_cast<double>(out_.original_context);
    out_.factor = rope_.number("factor", 1.0, kMaxFactor, implied);
    if (out_.factor < 1.0) {
      rope_.refuse("original_max_position_embeddings",
                   "must not be greater than max_position_embeddings where factor is absent");
    }
    // 0 is as good as absent: transformers tests them for being true.
    const double mscale = rope_.number("mscale", 0.0, kMaxFactor, 0.0),
                 all_dim = rope_.number("mscale_all_dim", 0.0, kMaxFactor, 0.0);
    const double usual = mscale > 0 && all_dim > 0
                             ? yarn_scale(out_.factor, mscale) / yarn_scale(out_.factor, all_dim)
                             : yarn_scale(out_.factor, 1.0);
    out_.attention_factor = rope_.number("attention_factor", 1e-6, kMaxFactor, usual);
    out_.beta_fast = rope_.number("beta_fast", 1e-6, kMaxFactor, 32.0);
    out_.beta_slow = rope_.number("beta_slow", 1e-6, kMaxFactor, 1.0);
    out_.truncate = rope_.boolean("truncate", true);
    if (out_.beta_fast < out_.beta_slow) rope_.refuse("beta_fast", "must not be less than beta_slow");
    if (out_.theta <= 1.0) rope_.refuse("rope_theta", "must be greater than 1 with rope_type yarn");
    if (out_.factor * static_cast<double>(out_.original_context) > static_cast<double>(kMaxContext)) {
      rope_.refuse("factor",
                   fmt::format("factor times original_max_position_embeddings ({}) must be at most {}",
                               out_.original_context, kMaxContext));
    }
  }

  JsonFields rope_;
  const RopeContext& context_;
  std::optional<std::int64_t> original_;
  RopeConfig out_;
};

bool is_by_layer_type(const json& rope) {
  return rope.is_object() && std::ranges::any_of(rope, [](const json& value) { return value.is_object(); });
}

// The one that the types of the model's layers have in common.
RopeConfig read_by_layer_type(JsonFields rope, const RopeContext& context, double theta) {
  rope.refuse_unknown({"full_attention", "sliding_attention", "rope_theta"});
  theta = rope.number("rope_theta", 1.0, 1e15, theta);
  std::optional<RopeConfig> common;
  for (const std::string& type : context.layer_types) {
    const RopeConfig read = RopeReader(rope.object(type.c_str()), context).read(theta, std::nullopt);
    if (common && read != *common)
      rope.refuse(type.c_str(), "rotary embeddings that differ between layers are not implemented");
    common = read;
  }
  return common.value_or(RopeConfig());
}

RopeConfig read_object(JsonFields& fields, const char* key, const RopeContext& context, double theta) {
  if (is_by_layer_type(*fields.find(key))) return read_by_layer_type(fields.object(key), context, theta);
  std::optional<std::int64_t> original;
  if (fields.find("original_max_position_embeddings") != nullptr)
    original = fields.integer("original_max_position_embeddings", 1, kMaxContext);
  return RopeReader(fields.object(key), context).read(theta, original);
}

// Frequencies whose wavelength is long beside the original context are divided by the factor, short ones
// stay, and those between go smoothly from the one to the other.
double llama3_frequency(const RopeConfig& rope, double frequency) {
  const double turns = static_cast<double>(rope.original_context) * frequency / (2 * std::numbers::pi);
  if (turns < rope.low_frequency_factor) return frequency / rope.factor;
  if (turns > rope.high_frequency_factor) return frequency;
  const double smooth =
      (turns - rope.low_frequency_factor) / (rope.high_frequency_factor - rope.low_frequency_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

// The pair of channels, a fraction of one too, that makes `turns` turns over the original context.
double yarn_pair(const RopeConfig& rope, double turns, int head_dim) {
  return head_dim * std::log(static_cast<double>(rope.original_context) / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(rope.theta));
}

// A ramp over the pairs, from those that turn often, which stay, to those that turn seldom, which are divided
// by the factor (arXiv 2309.00071).
void apply_yarn(const RopeConfig& rope, int head_dim, std::vector<double>& frequencies) {
  double low = yarn_pair(rope, rope.beta_fast, head_dim), high = yarn_pair(rope, rope.beta_slow, head_dim);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, head_dim - 1.0);
  if (low == high) high += 0.001;  // as transformers does
  for (std::size_t j = 0; j < frequencies.size(); ++j) {
    const double divided = std::clamp((static_cast<double>(j) - low) / (high - low), 0.0, 1.0);
    frequencies[j] *= divided / rope.factor + (1 - divided);
  }
}

}  // namespace

std::string_view to_text(RopeType type) {
  switch (type) {
    case RopeType::kPlain:
      return "default";
    case RopeType::kLinear:
      return "linear";
    case RopeType::kLlama3:
      return "llama3";
    case RopeType::kYarn:
      return "yarn";
  }
  return "";
}

std::vector<double> RopeConfig::inverse_frequencies(int head_dim) const {
  std::vector<double> frequencies(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t j = 0; j < frequencies.size(); ++j) {
    frequencies[j] = std::pow(theta, -2.0 * static_cast<double>(j) / head_dim);
    if (type == RopeType::kLinear) frequencies[j] /= factor;
    if (type == RopeType::kLlama3) frequencies[j] = llama3_frequency(*this, frequencies[j]);
  }
  if (type == RopeType::kYarn) apply_yarn(*this, head_dim, frequencies);
  for (std::size_t j = 0; j < divisors.size(); ++j) frequencies[j] /= divisors[j];
  return frequencies;
}

std::int64_t RopeConfig::context(std::int64_t stated) const {
  if (type != RopeType::kYarn) return stated;
  return std::max(stated, static_cast<std::int64_t>(factor * static_cast<double>(original_context)));
}

std::string RopeConfig::text() const {
  const std::string plain =
      fmt::format("rope theta {}{}", theta, divisors.empty() ? "" : ", scaled by the file's own factors");
  return type == RopeType::kPlain ? plain : fmt::format("{}, {} by {}", plain, to_text(type), factor);
}

RopeConfig read_rope(JsonFields& fields, const RopeContext& context) {
  RopeConfig rope;
  rope.theta = fields.number("rope_theta", 1.0, 1e15, context.default_theta);
  const bool old_form = fields.find("rope_scaling") != nullptr,
             new_form = fields.find("rope_parameters") != nullptr;
  const double theta = rope.theta;
  if (old_form) rope = read_object(fields, "rope_scaling", context, theta);
  if (new_form) {
    const RopeConfig read = read_object(fields, "rope_parameters", context, theta);
    if (old_form && read != rope)
      fields.refuse("rope_scaling", "rope_parameters says something else; remove one of them");
    rope = read;
  }
  return rope;
}

}  // namespace dslad::worker
