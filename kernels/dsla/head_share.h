// Adds one array of heads to another, each head by a share of its own: how linear attention joins an exact
// window.
//
//   y_t,h += share_h x_t,h                                  x, y [rows, heads, d] f32, row strides; must not
//   overlap
// and its gradient, for dy:
//   dx_t,h = share_h dy_t,h,    d_share_h += sum over t of dy_t,h . x_t,h       dx is overwritten and may be
//   x
// Results do not depend on the number of threads.
#pragma once

#include <cstdint>

namespace dslad::kernels {

class ThreadPool;

struct HeadShareArgs {
  const float* x;
  std::int64_t x_stride;
  const float* share;  // [heads]
  float* y;
  std::int64_t y_stride;
  std::int64_t rows;
  int heads, d;
};

struct HeadShareBackwardArgs {
  const float* x;
  std::int64_t x_stride;
  const float* share;  // [heads]
  const float* dy;
  std::int64_t dy_stride;
  float* dx;
  std::int64_t dx_stride;
  float* d_share;  // [heads]; added to
  std::int64_t rows;
  int heads, d;
};

void head_share_ref(const HeadShareArgs& args);
void head_share_backward_ref(const HeadShareBackwardArgs& args);  // sums in double
void head_share_cpu(ThreadPool& pool, const HeadShareArgs& args);
void head_share_backward_cpu(ThreadPool& pool, const HeadShareBackwardArgs& args);

}  // namespace dslad::kernels
