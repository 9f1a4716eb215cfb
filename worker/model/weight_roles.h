// Which format a matrix is held in, by what it does: few bits are for the layers' projections, which are most
// of a model. Pure.
#pragma once

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

}  // namespace dslad::worker
