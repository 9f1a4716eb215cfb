// window_attention.h's arguments as a CUDA device takes them.
#pragma once

#include "kernels/attention/window_attention.h"

namespace dslad::kernels::cuda {

// Pieces are device memory, which the host does not read: it names a limit instead, on which results do not
// depend.
struct WindowOnDevice {
  WindowAttentionArgs args;
  std::int64_t most_rows;  // of a piece, at most
};

}  // namespace dslad::kernels::cuda
