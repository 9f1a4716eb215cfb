#include <algorithm>

#include "kernels/cpu/parallel_rows.h"
#include "kernels/cpu/simd_targets.h"
#include "kernels/cpu/workspace.h"
#include "kernels/dsla/head_share.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dsla/head_share_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/highway.h>

#include "kernels/cpu/for_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void add_shares(const HeadShareArgs& args, std::int64_t first, std::int64_t last) {
  for (std::int64_t t = first; t < last; ++t) {
    for (std::int64_t head = 0; head < args.heads; ++head) {
      const float* x = args.x + t * args.x_stride + head * args.d;
      float* y = args.y + t * args.y_stride + head * args.d;
      const float share = args.share[head];
      for_lanes(args.d, [&](auto d, std::int64_t i) HWY_ATTR {
        hn::StoreU(hn::MulAdd(hn::Set(d, share), hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, y + i);
      });
    }
  }
}

// d_share [heads] of these rows alone; overwritten.
void share_gradients(const HeadShareBackwardArgs& args, std::int64_t first, std::int64_t last,
                     float* d_share) {
  std::fill_n(d_share, args.heads, 0.0f);
  for (std::int64_t t = first; t < last; ++t) {
    for (std::int64_t head = 0; head < args.heads; ++head) {
      const float* x = args.x + t * args.x_stride + head * args.d;
      const float* dy = args.dy + t * args.dy_stride + head * args.d;
      float* dx = args.dx + t * args.dx_stride + head * args.d;
      const float share = args.share[head];
      float sum = 0.0f;
      for_lanes(args.d, [&](auto d, std::int64_t i) HWY_ATTR {
        const auto g = hn::LoadU(d, dy + i);
        sum += hn::GetLane(hn::SumOfLanes(d, hn::Mul(g, hn::LoadU(d, x + i))));
        hn::StoreU(hn::Mul(hn::Set(d, share), g), d, dx + i);
      });
      d_share[head] += sum;
    }
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {
namespace {

HWY_EXPORT(add_shares);
HWY_EXPORT(share_gradients);

constexpr std::int64_t kPieceRows = 256;  // fixed, so that sums do not depend on the number of threads

}  // namespace

void head_share_cpu(ThreadPool& pool, const HeadShareArgs& args) {
  parallel_rows(pool, args.rows, std::int64_t{args.heads} * args.d,
                [&](std::int64_t first, std::int64_t last) {
                  HWY_DYNAMIC_DISPATCH(add_shares)(args, first, last);
                });
}

void head_share_backward_cpu(ThreadPool& pool, const HeadShareBackwardArgs& args) {
  const std::int64_t pieces = (args.rows + kPieceRows - 1) / kPieceRows;
  static thread_local Workspace workspace;
  float* sums = workspace.floats(static_cast<std::size_t>(pieces * args.heads));
  pool.parallel_for(pieces, [&](std::int64_t piece, int) {
    HWY_DYNAMIC_DISPATCH(share_gradients)
    (args, piece * kPieceRows, std::min(args.rows, (piece + 1) * kPieceRows), sums + piece * args.heads);
  });
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    for (int head = 0; head < args.heads; ++head) args.d_share[head] += sums[piece * args.heads + head];
  }
}

}  // namespace dslad::kernels
#endif
