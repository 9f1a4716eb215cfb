// How the rows of a training batch are divided into sequences.
//
// A batch is a matrix of R activation rows. A segment is a run of rows that are consecutive tokens of one
// sequence; nothing passes from one segment to another unless it names the other as its parent. A segment
// with a parent continues the parent's end: a question behind its document. Several segments may continue one
// parent, which is how a document is processed once for all its questions, in training as in serving.
#pragma once

#include <cstdint>

namespace dslad::kernels {

struct Segment {
  std::int64_t first_row;
  std::int64_t rows;  // > 0
  std::int32_t parent =
      -1;  // index in the same list, less than this segment's own; the parent itself has none
};

}  // namespace dslad::kernels
