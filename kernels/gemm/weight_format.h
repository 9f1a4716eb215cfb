// What weights are held in, and what that makes of the rows that they are multiplied with.
//
//   f32, bf16   as they are
//   int8        groups of 32 along K:  w = d (u - 128),  u in [1, 255]
//   int4        groups of 32 along K:  w = d u + m,      u in [0, 15]
// d and m are float16, so the blocks of GGUF's Q8_0, Q4_0 and Q4_1 are held exactly.
//
// A format is of weights alone. Keys and values, and the rows of a long prefill, have the format's compute
// type; decode rows beside int8 and int4 are quantized to 8 bits, by groups of 32 as well.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/tensor.h"

namespace dslad::kernels {

enum class WeightFormat : std::uint8_t { kF32, kBf16, kInt8, kInt4 };

// By their values; as options and messages spell them.
inline constexpr std::array kWeightFormatNames = {"f32", "bf16", "int8", "int4"};

constexpr std::string_view to_string(WeightFormat format) {
  return kWeightFormatNames[static_cast<std::size_t>(format)];
}

constexpr std::optional<WeightFormat> parse_weight_format(std::string_view name) {
  for (std::size_t value = 0; value < kWeightFormatNames.size(); ++value) {
    if (name == kWeightFormatNames[value]) return static_cast<WeightFormat>(value);
  }
  return std::nullopt;
}

inline constexpr std::int64_t kGroup = 32;  // values of K with a scale of their own

constexpr WeightFormat format_of(DType dtype) {
  return dtype == DType::kF32 ? WeightFormat::kF32 : WeightFormat::kBf16;
}

constexpr DType compute_type(WeightFormat format) {
  return format == WeightFormat::kF32 ? DType::kF32 : DType::kBf16;
}

constexpr bool is_quantized(WeightFormat format) {
  return format == WeightFormat::kInt8 || format == WeightFormat::kInt4;
}

// How a panel of packed weights (packed_matrix.h) and a row of x advance along K together.
struct StepLayout {
  std::int64_t values;       // of K in a step
  std::int64_t row_bytes;    // of a packed row of x
  std::int64_t panel_bytes;  // of a panel, 64 columns
  std::int64_t block;        // K is padded to whole blocks of so many steps
};

constexpr StepLayout step_layout(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return {1, 4, 256, 16};
    case WeightFormat::kBf16:
      return {2, 4, 256, 16};
    case WeightFormat::kInt8:
      return {kGroup, 40, 2048 + 128, 1};
    case WeightFormat::kInt4:
      return {kGroup, 40, 1024 + 2 * 128, 1};
  }
  return {};
}

}  // namespace dslad::kernels
