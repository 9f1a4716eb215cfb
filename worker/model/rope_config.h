// A model's rotary position embedding as config.json states it: the frequencies, and a factor of cosines and
// sines.
//
// transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5 `rope_parameters`, flat or by type of
// layer. The types default, linear, llama3 and yarn are what transformers 5 computes from them. `dynamic` is
// the plain one: its frequencies are those up to the context that config.json states, and no sequence becomes
// longer here. Others (longrope, mrope, ...) and unknown keys are refused by name. A plain value.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "worker/files/json_fields.h"

namespace dslad::worker {

enum class RopeType : std::uint8_t { kPlain, kLinear, kLlama3, kYarn };

struct RopeConfig {
  RopeType type = RopeType::kPlain;
  double theta = 10000.0;
  double factor = 1.0;                // of the context; all but plain
  std::int64_t original_context = 0;  // that the model was first trained with; llama3 and yarn
  double low_frequency_factor = 1.0, high_frequency_factor = 4.0;  // llama3; low < high
  double beta_fast = 32.0, beta_slow = 1.0;                        // yarn; slow <= fast
  bool truncate = true;                                            // yarn
  double attention_factor = 1.0;                                   // of every cosine and sine
  std::vector<double>
      divisors;  // of the frequencies, where a file states the result instead of the rule; or empty

  // The angle that each pair of a head's channels turns by from token to token, [head_dim / 2]; plain:
  // theta^(-2j / head_dim).
  [[nodiscard]] std::vector<double> inverse_frequencies(int head_dim) const;

  // The longest sequence, where config.json states `stated`: yarn's is at least factor * original_context.
  [[nodiscard]] std::int64_t context(std::int64_t stated) const;

  // As people call it: "rope theta 10000, llama3 by 8".
  [[nodiscard]] std::string text() const;

  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

std::string_view to_text(RopeType type);  // "default", "linear", "llama3", "yarn"

// What the architecture and the rest of config.json say.
struct RopeContext {
  double default_theta;
  std::int64_t max_position_embeddings;
  std::span<const std::string> layer_types;  // those that the model's layers have, each once
};

// Reads what `fields`, the whole of config.json, says of rotary embeddings. Where it is by type of layer, all
// layers must have the same: several at once are not implemented.
RopeConfig read_rope(JsonFields& fields, const RopeContext& context);

}  // namespace dslad::worker
