// Walks [0, n) in whole vectors and then in halves of them, for code that is compiled once per instruction
// set: no element outside is touched, and every element sees the same arithmetic.

// Per-target include guard, as Highway wants it.
#if defined(DSLAD_KERNELS_CPU_FOR_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DSLAD_KERNELS_CPU_FOR_LANES_INL_H_
#undef DSLAD_KERNELS_CPU_FOR_LANES_INL_H_
#else
#define DSLAD_KERNELS_CPU_FOR_LANES_INL_H_
#endif

#include <cstdint>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D, class Body>
HWY_INLINE void for_lanes_of(D d, std::int64_t i, std::int64_t n, const Body& body) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (; i + lanes <= n; i += lanes) body(d, i);
  if constexpr (hn::MaxLanes(D()) > 1) {
    if (i < n) for_lanes_of(hn::Half<D>(), i, n, body);
  }
}

// body(d, i) handles elements [i, i + Lanes(d)).
template <class Body>
HWY_INLINE void for_lanes(std::int64_t n, const Body& body) {
  for_lanes_of(hn::ScalableTag<float>(), 0, n, body);
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
