#include <algorithm>
#include <array>

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
using Vector = hn::Vec<Floats>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(Floats()));
constexpr std::int64_t kStepBytes = 4, kPanelStepBytes = 256;  // of both formats
constexpr std::int64_t kBlockSteps = 4;
constexpr std::int64_t kPassSteps = 64;  // of W, 16 KiB: all columns and rows pass while they are cached

// Vectors of columns side by side, whose sums must fit the registers beside the operands. With AVX-512 they
// are a whole panel, with AVX2 half of one for up to two rows and a quarter for more.
constexpr int vectors_of(int rows) {
  return kLanes == 16 || rows <= 2 ? 4 : 2;
}

// How a step is read: `kValues` of K, those of x widened to float.
struct F32Step {
  static constexpr int kValues = 1;
  static const float* widen(const std::byte* x, std::int64_t, float*) {
    return reinterpret_cast<const float*>(x);
  }
  template <int kValue>
  static HWY_INLINE Vector weights(const std::byte* w) {
    return hn::Load(Floats(), reinterpret_cast<const float*>(w));
  }
};

// A pair of bf16 is the upper halves of two floats: shift or mask; the even K is the lower one.
struct Bf16Step {
  static constexpr int kValues = 2;
  static const float* widen(const std::byte* x, std::int64_t steps, float* out) {
    const hn::CappedTag<float, 2 * kBlockSteps> d;
    const hn::Rebind<std::uint16_t, decltype(d)> halves;
    const hn::RebindToUnsigned<decltype(d)> du;
    for (std::int64_t i = 0; i < 2 * steps; i += static_cast<std::int64_t>(hn::Lanes(d))) {
      const auto bits = hn::LoadU(halves, reinterpret_cast<const std::uint16_t*>(x) + i);
      hn::Store(hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, bits))), d, out + i);
    }
    return out;
  }
  template <int kValue>
  static HWY_INLINE Vector weights(const std::byte* w) {
    const hn::RebindToUnsigned<Floats> du;
    const auto pair = hn::Load(du, reinterpret_cast<const std::uint32_t*>(w));
    return hn::BitCast(Floats(),
                       kValue == 0 ? hn::ShiftLeft<16>(pair) : hn::And(pair, hn::Set(du, 0xffff0000u)));
  }
};

template <int kRows>
using Sums = Vector[kRows][vectors_of(kRows)];

// Of rows and vectors the fewer wait in registers and the others come one by one: 16 registers do not hold
// both.
template <class Step, int kValue, int kRows>
HWY_INLINE void add_value(const std::array<const float*, kRows>& x, std::int64_t step, const std::byte* w,
                          Sums<kRows>& sums) {
  constexpr int kVectors = vectors_of(kRows);
  const auto weights = [&](int v)
                           HWY_ATTR { return Step::template weights<kValue>(w + v * kLanes * kStepBytes); };
  const auto value = [&](int r) HWY_ATTR {
    return hn::Set(Floats(), x[static_cast<std::size_t>(r)][step * Step::kValues + kValue]);
  };
  if constexpr (kRows < kVectors) {
    Vector values[kRows];
    for (int r = 0; r < kRows; ++r) values[r] = value(r);
    for (int v = 0; v < kVectors; ++v) {
      const Vector columns = weights(v);
      for (int r = 0; r < kRows; ++r) sums[r][v] = hn::MulAdd(values[r], columns, sums[r][v]);
    }
  } else {
    Vector columns[kVectors];
    for (int v = 0; v < kVectors; ++v) columns[v] = weights(v);
    for (int r = 0; r < kRows; ++r) {
      const Vector one = value(r);
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(one, columns[v], sums[r][v]);
    }
  }
}

// Part of a tile: as many columns as one pass takes, `steps` steps of K. Returns what is to be fetched next.
template <class Step, int kRows>
HWY_INLINE const std::byte* run_columns(const std::array<const float*, kRows>& x, const std::byte* w,
                                        std::int64_t steps, float* tile, bool resume, const std::byte* ahead,
                                        std::int64_t ahead_lines) {
  const Floats d;
  constexpr int kVectors = vectors_of(kRows);
  Sums<kRows> sums;
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = resume ? hn::Load(d, tile + r * kPanelColumns + v * kLanes) : hn::Zero(d);
    }
  }
  for (std::int64_t step = 0; step < steps; ++step, w += kPanelStepBytes) {
    if (step % kBlockSteps == 0) ahead = fetch_ahead(ahead, ahead_lines);
    add_value<Step, 0, kRows>(x, step, w, sums);
    if constexpr (Step::kValues == 2) add_value<Step, 1, kRows>(x, step, w, sums);
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) hn::Store(sums[r][v], d, tile + r * kPanelColumns + v * kLanes);
  }
  return ahead;
}

template <class Step, int kRows>
void run_tile(const TileArgs& args) {
  constexpr int kPassColumns = vectors_of(kRows) * kLanes, kPasses = kPanelColumns / kPassColumns;
  HWY_ALIGN float widened[kRows][kPassSteps * Step::kValues];
  std::array<const float*, kRows> x;
  const std::byte* ahead = args.ahead;
  for (std::int64_t step = 0; step < args.steps; step += kPassSteps) {
    const std::int64_t steps = std::min(kPassSteps, args.steps - step);
    for (int r = 0; r < kRows; ++r) {
      x[static_cast<std::size_t>(r)] =
          Step::widen(args.x + r * args.x_stride + step * kStepBytes, steps, widened[r]);
    }
    const std::byte* w = args.w + step * kPanelStepBytes;
    for (int pass = 0; pass < kPasses; ++pass, w += kPassColumns * kStepBytes) {
      const std::int64_t lines = (args.ahead_lines - pass + kPasses - 1) / kPasses;  // its part of them
      ahead = run_columns<Step, kRows>(x, w, steps, args.tile + pass * kPassColumns, args.resume || step > 0,
                                       ahead, lines);
    }
  }
}

template <class Step>
const TileKernels& kernels_of() {
  static const TileKernels kernels = {{run_tile<Step, 1>, run_tile<Step, 2>, run_tile<Step, 3>,
                                       run_tile<Step, 4>, run_tile<Step, 5>, run_tile<Step, 6>},
                                      6,
                                      kBlockSteps,
                                      kPassSteps * kPanelStepBytes};
  return kernels;
}

const TileKernels& tile_kernels_for(WeightFormat format) {
  return format == WeightFormat::kF32 ? kernels_of<F32Step>() : kernels_of<Bf16Step>();
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(tile_kernels_for);

const TileKernels& portable_tile_kernels(WeightFormat format) {
  return HWY_DYNAMIC_DISPATCH(tile_kernels_for)(format);
}

}  // namespace dslad::kernels
#endif
