// Which products a call of gemm_on_device.h is made of, whoever multiplies: cuBLASLt on a GPU, a plain sum in
// the tests.
//
// A row's result must not depend on other rows (kernels/rows.h), and who multiplies chooses its way by the
// number of rows. So decode rows are kDecodeBlockRows a product, whatever there is of them, and their results
// are placed by a kernel of their own; a prefill block is products of its own row count.
#pragma once

#include <algorithm>

#include "kernels/gemm/cuda/gemm_on_device.h"
#include "kernels/gemm/cuda/gemm_rows.cuh"

namespace dslad::kernels::cuda {

// args.rounded [padded_rows, k] = rows of x from `first`, and rows of zeros.
template <class Queue>
void round_rows(Queue& queue, const GemmOnDevice& args, std::int64_t first, std::int64_t rows,
                std::int64_t padded_rows) {
  const float* from = args.x + first * args.ldx;
  if (args.dtype == DType::kF32) {
    queue.template launch<RoundRows<float>>(
        {from, args.ldx, rows, padded_rows, args.k, static_cast<float*>(args.rounded)});
  } else {
    queue.template launch<RoundRows<bf16>>(
        {from, args.ldx, rows, padded_rows, args.k, static_cast<bf16*>(args.rounded)});
  }
}

// multiply(m, y, ldy, accumulate): y [m, n] = args.rounded [m, k] W^T, or += it, behind what `queue` was
// given; false: that was not possible, and nothing more is queued.
template <class Queue, class Multiply>
void gemm_by_blocks(Queue& queue, const GemmOnDevice& args, const Multiply& multiply) {
  for (const RowBlock& block : args.blocks) {
    const bool is_decode = block.kind == RowKind::kDecode;
    const std::int64_t most = is_decode ? kDecodeBlockRows : kMostBlockRows, end = block.first + block.rows;
    for (std::int64_t first = block.first; first < end; first += most) {
      const std::int64_t rows = std::min(most, end - first), m = is_decode ? most : rows;
      round_rows(queue, args, first, rows, m);
      float* const y = args.y + first * args.ldy;
      const bool is_done =
          is_decode ? multiply(m, args.results, args.n, false) : multiply(m, y, args.ldy, args.accumulate);
      if (!is_done) return;
      if (is_decode)
        queue.template launch<PlaceRows>({args.results, rows, args.n, y, args.ldy, args.accumulate});
    }
  }
}

}  // namespace dslad::kernels::cuda
