#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel_rows.h"
#include "kernels/cpu/simd_targets.h"
#include "kernels/cpu/workspace.h"
#include "kernels/norm/rms_norm_backward.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/norm/rms_norm_backward_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/highway.h>

#include "kernels/cpu/for_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct RowSums {
  float squares;   // of x
  float products;  // of dy weight x
};

// Two sums of each hide the latency of the additions; their order depends on the width alone.
RowSums row_sums(const float* x, const float* weight, const float* dy, std::int64_t width) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto squares0 = hn::Zero(d), squares1 = squares0, products0 = squares0, products1 = squares0;
  std::int64_t i = 0;
  for (; i + 2 * lanes <= width; i += 2 * lanes) {
    const auto x0 = hn::LoadU(d, x + i), x1 = hn::LoadU(d, x + i + lanes);
    const auto dn0 = hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, weight + i));
    const auto dn1 = hn::Mul(hn::LoadU(d, dy + i + lanes), hn::LoadU(d, weight + i + lanes));
    squares0 = hn::MulAdd(x0, x0, squares0);
    squares1 = hn::MulAdd(x1, x1, squares1);
    products0 = hn::MulAdd(dn0, x0, products0);
    products1 = hn::MulAdd(dn1, x1, products1);
  }
  RowSums sums = {hn::GetLane(hn::SumOfLanes(d, hn::Add(squares0, squares1))),
                  hn::GetLane(hn::SumOfLanes(d, hn::Add(products0, products1)))};
  for (; i < width; ++i) {
    sums.squares += x[i] * x[i];
    sums.products += dy[i] * weight[i] * x[i];
  }
  return sums;
}

// Of groups [first, last) of all rows'. d_weight [width] or null: added to.
void rms_norm_gradients(const RmsNormBackwardArgs& args, std::int64_t first, std::int64_t last,
                        float* d_weight) {
  const auto width = static_cast<float>(args.width);
  for (std::int64_t group = first; group < last; ++group) {
    const std::int64_t row = group / args.groups, column = group % args.groups * args.width;
    const float* x = args.x + row * args.x_stride + column;
    const float* dy = args.dy + row * args.dy_stride + column;
    float* dx = args.dx + row * args.dx_stride + column;
    const RowSums sums = row_sums(x, args.weight, dy, args.width);
    const float r = 1.0f / std::sqrt(sums.squares / width + args.eps);
    const float mean = sums.products * r / width;
    for_lanes(args.width, [&](auto d, std::int64_t i) HWY_ATTR {
      const auto scale = hn::Set(d, r), dyi = hn::LoadU(d, dy + i);
      const auto n = hn::Mul(hn::LoadU(d, x + i), scale);
      const auto dn = hn::Mul(dyi, hn::LoadU(d, args.weight + i));
      const auto change = hn::NegMulAdd(n, hn::Set(d, mean), dn);
      hn::StoreU(hn::MulAdd(scale, change, hn::LoadU(d, dx + i)), d, dx + i);
      if (d_weight != nullptr) hn::StoreU(hn::MulAdd(dyi, n, hn::LoadU(d, d_weight + i)), d, d_weight + i);
    });
  }
}

void add_row(float* sum, const float* part, std::int64_t width) {
  for_lanes(width, [&](auto d, std::int64_t i) HWY_ATTR {
    hn::StoreU(hn::Add(hn::LoadU(d, sum + i), hn::LoadU(d, part + i)), d, sum + i);
  });
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {
namespace {

HWY_EXPORT(rms_norm_gradients);
HWY_EXPORT(add_row);

// Enough for the threads of a large machine; each has a sum of its own.
constexpr std::int64_t kMostPieces = 64;

}  // namespace

void rms_norm_backward_cpu(ThreadPool& pool, const RmsNormBackwardArgs& args) {
  const std::int64_t groups = args.rows * args.groups;
  const std::int64_t step =
      std::max<std::int64_t>({1, kMinPieceElements / args.width, (groups + kMostPieces - 1) / kMostPieces});
  const std::int64_t pieces = (groups + step - 1) / step;
  static thread_local Workspace workspace;
  float* sums = nullptr;
  if (args.d_weight != nullptr) {
    sums = workspace.floats(static_cast<std::size_t>(pieces * args.width));
    std::fill_n(sums, pieces * args.width, 0.0f);
  }
  pool.parallel_for(pieces, [&](std::int64_t piece, int) {
    float* sum = sums == nullptr ? nullptr : sums + piece * args.width;
    HWY_DYNAMIC_DISPATCH(rms_norm_gradients)
    (args, piece * step, std::min(groups, (piece + 1) * step), sum);
  });
  if (sums == nullptr) return;
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    HWY_DYNAMIC_DISPATCH(add_row)(args.d_weight, sums + piece * args.width, args.width);
  }
}

}  // namespace dslad::kernels
#endif
