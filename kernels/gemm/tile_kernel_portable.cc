#include <cstring>

#include "kernels/cpu/simd_targets.h"
#include "kernels/gemm/tile_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/tile_kernel_portable.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(Floats()));
constexpr int kVectors = 4;  // side by side in one pass; 4 x 16 columns are a whole panel with AVX-512
constexpr int kRegisterRows = kLanes == 16 ? 6 : 3;

struct F32Step {
  template <class V>
  static HWY_INLINE V add(V sum, const std::byte* x, const std::byte* w) {
    const Floats d;
    float value;
    std::memcpy(&value, x, sizeof(value));
    return hn::MulAdd(hn::Set(d, value), hn::Load(d, reinterpret_cast<const float*>(w)), sum);
  }
};

// A pair of bf16 is the upper halves of two floats: shift or mask, then two multiply-adds, even K first.
struct Bf16Step {
  template <class V>
  static HWY_INLINE V add(V sum, const std::byte* x, const std::byte* w) {
    const Floats d;
    const hn::RebindToUnsigned<Floats> du;
    std::uint32_t pair;
    std::memcpy(&pair, x, sizeof(pair));
    const auto values = hn::Set(du, pair), weights = hn::Load(du, reinterpret_cast<const std::uint32_t*>(w));
    const auto upper = hn::Set(du, 0xffff0000u);
    const auto even_x = hn::BitCast(d, hn::ShiftLeft<16>(values));
    const auto odd_x = hn::BitCast(d, hn::And(values, upper));
    sum = hn::MulAdd(even_x, hn::BitCast(d, hn::ShiftLeft<16>(weights)), sum);
    return hn::MulAdd(odd_x, hn::BitCast(d, hn::And(weights, upper)), sum);
  }
};

template <class Step, int kRows>
void run_columns(const TileArgs& args, int column) {
  const Floats d;
  hn::Vec<Floats> sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = args.resume ? hn::Load(d, args.tile + r * 64 + column + v * kLanes) : hn::Zero(d);
    }
  }
  const std::byte* ahead = args.ahead;
  for (std::int64_t step = 0; step < args.steps; ++step) {
    if (step % kBlockSteps == 0 && column == 0) ahead = fetch_ahead(ahead, args.ahead_lines);
    const std::byte* w = args.w + step * kPanelStepBytes + column * kStepBytes;
    for (int v = 0; v < kVectors; ++v) {
      for (int r = 0; r < kRows; ++r) {
        const std::byte* x = args.x + r * args.x_stride + step * kStepBytes;
        sums[r][v] = Step::add(sums[r][v], x, w + v * kLanes * kStepBytes);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) hn::Store(sums[r][v], d, args.tile + r * 64 + column + v * kLanes);
  }
}

template <class Step, int kRows>
void run_tile(const TileArgs& args) {
  for (int column = 0; column < 64; column += kVectors * kLanes) run_columns<Step, kRows>(args, column);
}

template <class Step>
const TileKernels& kernels_of() {
  if constexpr (kRegisterRows == 6) {
    static const TileKernels kernels = {{run_tile<Step, 1>, run_tile<Step, 2>, run_tile<Step, 3>,
                                         run_tile<Step, 4>, run_tile<Step, 5>, run_tile<Step, 6>},
                                        6};
    return kernels;
  } else {
    static const TileKernels kernels = {{run_tile<Step, 1>, run_tile<Step, 2>, run_tile<Step, 3>}, 3};
    return kernels;
  }
}

const TileKernels& tile_kernels_for(DType dtype) {
  return dtype == DType::kF32 ? kernels_of<F32Step>() : kernels_of<Bf16Step>();
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(tile_kernels_for);

const TileKernels& portable_tile_kernels(DType dtype) {
  return HWY_DYNAMIC_DISPATCH(tile_kernels_for)(dtype);
}

}  // namespace dslad::kernels
#endif
