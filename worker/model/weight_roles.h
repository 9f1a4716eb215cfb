// Which format a matrix is held in, by what it does: few bits are for the layers' projections, which are most
// of a model. Pure.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "kernels/gemm/weight_format.h"

namespace dslad::worker {

// Of embedding and output projection where layers are of `layers`: every token passes through both, and
// errors of the logits are errors of the answer.
constexpr kernels::WeightFormat vocabulary_format(kernels::WeightFormat layers) {
  return layers == kernels::WeightFormat::kInt4 ? kernels::WeightFormat::kInt8 : layers;
}

// Of the gates of converted layers: small, and what a state forgets follows from them over thousands of
// tokens.
constexpr kernels::WeightFormat gate_format(kernels::WeightFormat layers) {
  return kernels::format_of(kernels::compute_type(layers));
}

inline constexpr std::array kWeightFormats = {"bf16", "f32", "int8", "int4"};  // as options name them

constexpr std::string_view to_string(kernels::WeightFormat format) {
  switch (format) {
    case kernels::WeightFormat::kF32:
      return "f32";
    case kernels::WeightFormat::kBf16:
      return "bf16";
    case kernels::WeightFormat::kInt8:
      return "int8";
    case kernels::WeightFormat::kInt4:
      return "int4";
  }
  return {};
}

constexpr std::optional<kernels::WeightFormat> parse_weight_format(std::string_view name) {
  for (const auto format : {kernels::WeightFormat::kF32, kernels::WeightFormat::kBf16,
                            kernels::WeightFormat::kInt8, kernels::WeightFormat::kInt4}) {
    if (name == to_string(format)) return format;
  }
  return std::nullopt;
}

}  // namespace dslad::worker
