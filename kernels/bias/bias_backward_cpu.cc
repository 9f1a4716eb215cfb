#include <algorithm>

#include "kernels/bias/bias_backward.h"
#include "kernels/cpu/simd_targets.h"
#include "kernels/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/bias/bias_backward_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/highway.h>

#include "kernels/cpu/for_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Of columns [first, last), row by row: their sums stay in the first-level cache.
void add_rows(const BiasBackwardArgs& args, std::int64_t first, std::int64_t last) {
  float* const sums = args.d_bias + first;
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const float* const dy = args.dy + row * args.dy_stride + first;
    for_lanes(last - first, [&](auto d, std::int64_t i) HWY_ATTR {
      hn::StoreU(hn::Add(hn::LoadU(d, sums + i), hn::LoadU(d, dy + i)), d, sums + i);
    });
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {
namespace {

HWY_EXPORT(add_rows);

constexpr std::int64_t kColumns = 256;  // of a piece

}  // namespace

void bias_backward_cpu(ThreadPool& pool, const BiasBackwardArgs& args) {
  pool.parallel_for((args.width + kColumns - 1) / kColumns, [&](std::int64_t piece, int) {
    HWY_DYNAMIC_DISPATCH(add_rows)
    (args, piece * kColumns, std::min(args.width, (piece + 1) * kColumns));
  });
}

}  // namespace dslad::kernels
#endif
