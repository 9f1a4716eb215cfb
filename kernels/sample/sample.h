// Picks the next token from a row of logits.
//
// Greedy (temperature 0): the largest logit, the lowest id on ties. Otherwise: softmax(logits / T), the
// smallest set of likeliest tokens whose probability reaches top_p (ties by id), one draw from it. The draw
// is a hash of (seed, position), not a stream: the same request draws the same whatever runs beside it. A row
// with a NaN or an infinity is nobody's answer: it gives kNoToken.
#pragma once

#include <cstdint>
#include <span>

namespace dslad::kernels {

constexpr std::int32_t kNoToken = -1;

// Where an id of a token is expected: the one that was drawn for row `row`, by what has been drawn last and
// nobody may have read yet. Below zero, as no id is.
constexpr std::int32_t drawn_id(std::int64_t row) {
  return static_cast<std::int32_t>(-1 - row);
}
constexpr bool is_drawn_id(std::int32_t id) {
  return id < 0;
}
constexpr std::int64_t drawn_row(std::int32_t id) {
  return -1 - std::int64_t{id};
}

struct SampleArgs {
  std::span<const float> logits;  // [vocabulary], not empty
  float temperature = 0.0f;       // >= 0
  float top_p = 1.0f;             // in (0, 1]
  std::uint64_t seed = 0;
  std::uint64_t position = 0;  // index of the token to be drawn in its sequence
};

[[nodiscard]] std::int32_t sample_ref(const SampleArgs& args);  // sorts everything, in double
[[nodiscard]] std::int32_t sample_cpu(const SampleArgs& args);

// A token and the logits that it was chosen by.
struct ChosenToken {
  std::span<const float> logits;  // [vocabulary]
  std::int32_t token;
};

// log softmax(logits)[token], in nats. REQUIRES: the logits are finite, and the token is one of theirs.
[[nodiscard]] double log_probability_ref(std::span<const float> logits, std::int32_t token);
[[nodiscard]] double log_probability_cpu(std::span<const float> logits, std::int32_t token);

}  // namespace dslad::kernels
