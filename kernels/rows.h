// How the rows (tokens) of one engine step are divided.
//
// A step is a matrix of R activation rows: decode tokens of many sequences and prefill pieces of some, of one
// sequence perhaps several. A kernel may choose its algorithm by a block's kind and its own row count, never
// by what else is in the step, pieces of the same prompt included: that is what makes a request's text the
// same alone and in any batch, however many of its pieces a step takes in.
#pragma once

#include <cstdint>

namespace dslad::kernels {

enum class RowKind : std::uint8_t {
  kDecode,   // independent rows, one token of one sequence each
  kPrefill,  // one piece of ONE sequence's prompt; its cut depends on that prompt alone
};

struct RowBlock {
  std::int64_t first;  // index of the first row in the step
  std::int64_t rows;   // > 0; at most the device's piece_rows() for kPrefill, unbounded for kDecode
  RowKind kind;
};

// A prompt is cut at multiples of this many tokens, or of a multiple of it (Device::piece_rows). A multiple
// of the DSLA chunk and of the KV page.
inline constexpr std::int64_t kPieceRows = 128;

}  // namespace dslad::kernels
