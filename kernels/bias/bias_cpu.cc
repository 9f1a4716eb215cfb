#include "kernels/bias/bias.h"
#include "kernels/cpu/parallel_rows.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/bias/bias_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/highway.h>

#include "kernels/cpu/for_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void add_bias(const BiasArgs& args, std::int64_t first, std::int64_t last) {
  for (std::int64_t row = first; row < last; ++row) {
    float* y = args.y + row * args.y_stride;
    for_lanes(args.width, [&](auto d, std::int64_t i) HWY_ATTR {
      hn::StoreU(hn::Add(hn::LoadU(d, y + i), hn::LoadU(d, args.bias + i)), d, y + i);
    });
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(add_bias);

void bias_cpu(ThreadPool& pool, const BiasArgs& args) {
  parallel_rows(pool, args.rows, args.width, [&](std::int64_t first, std::int64_t last) {
    HWY_DYNAMIC_DISPATCH(add_bias)(args, first, last);
  });
}

}  // namespace dslad::kernels
#endif
