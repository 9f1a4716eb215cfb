// Rows and heads from one place to another, as they are.
#pragma once

#include <cstdint>
#include <span>

namespace dslad::kernels {

class ThreadPool;

// to [rows.size(), width] = rows rows[i] of from [R, width]. REQUIRES: to is apart from from.
struct GatherArgs {
  const float* from;
  std::int64_t width;
  std::span<const std::int64_t> rows;
  float* to;
};

// In each row of x, in place, keeps the first `kept` channels of each head's `channels`, closes the gaps and
// moves the `tail` floats behind the heads after them:
//   [heads, channels], [tail]  ->  [heads, kept], [tail]
// What lies behind that is left over. REQUIRES: kept <= channels.
struct NarrowHeadsArgs {
  float* x;  // [rows, ..], row stride x_stride
  std::int64_t x_stride;
  std::int64_t rows;
  std::int64_t heads;
  std::int64_t channels;
  std::int64_t kept;
  std::int64_t tail;
};

void gather_cpu(const GatherArgs& args);
void narrow_heads_cpu(ThreadPool& pool, const NarrowHeadsArgs& args);

}  // namespace dslad::kernels
