// Tiles of quantized weights by Highway: bytes are widened to float32, in which a group's sums are exact too,
// so the results are those of the integer instructions.
#include <array>

#include "kernels/cpu/simd_targets.h"
#include "kernels/gemm/quantized_group.h"
#include "kernels/gemm/tile_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/tile_kernel_groups.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using GroupFloats = hn::CappedTag<float, 16>;
using GroupVector = hn::Vec<GroupFloats>;
using Quads = hn::Vec<hn::RebindToUnsigned<GroupFloats>>;  // of each column four values of K

// sums[r] += x[r][k .. k + 4) times the four bytes of a lane.
template <int kRows>
HWY_INLINE void add_quads(Quads quads, const float (*x)[kGroup], std::int64_t k, GroupVector (&sums)[kRows]) {
  const GroupFloats d;
  const hn::RebindToUnsigned<GroupFloats> du;
  const hn::RebindToSigned<GroupFloats> di;
  for (std::int64_t j = 0; j < 4; ++j) {
    const auto bytes = hn::And(quads, hn::Set(du, 0xffu));
    const auto weights = hn::ConvertTo(d, hn::BitCast(di, bytes));
    for (int r = 0; r < kRows; ++r) sums[r] = hn::MulAdd(weights, hn::Set(d, x[r][k + j]), sums[r]);
    quads = hn::ShiftRight<8>(quads);
  }
}

// One group, a vector of columns.
template <WeightFormat kFormat, int kRows>
HWY_INLINE void add_columns(const RowGroup* const (&groups)[kRows], const float (*x)[kGroup],
                            const std::byte* w, std::int64_t column, float* tile, bool resume) {
  const GroupFloats d;
  const hn::RebindToUnsigned<GroupFloats> du;
  const hn::Rebind<hwy::float16_t, GroupFloats> d16;
  constexpr bool kInt8 = kFormat == WeightFormat::kInt8;
  constexpr std::int64_t kQuadRows = kInt8 ? kGroup / 4 : kGroup / 8;
  const auto* u = reinterpret_cast<const std::uint32_t*>(w) + column;
  GroupVector sums[kRows];
  for (int r = 0; r < kRows; ++r) sums[r] = hn::Zero(d);
  for (std::int64_t i = 0; i < kQuadRows; ++i, u += kPanelColumns) {
    const auto quads = hn::Load(du, u);
    if constexpr (kInt8) {
      add_quads<kRows>(quads, x, i * 4, sums);
    } else {
      const auto low = hn::Set(du, 0x0f0f0f0fu);
      add_quads<kRows>(hn::And(quads, low), x, i * 4, sums);
      add_quads<kRows>(hn::And(hn::ShiftRight<4>(quads), low), x, kGroup / 2 + i * 4, sums);
    }
  }
  const auto* scales = reinterpret_cast<const hwy::float16_t*>(w + kQuadRows * 256) + column;
  const auto scale = hn::PromoteTo(d, hn::LoadU(d16, scales));
  for (int r = 0; r < kRows; ++r) {
    const RowGroup& group = *groups[r];
    float* const out = tile + r * kPanelColumns + column;
    auto sum = sums[r];
    if constexpr (kInt8) sum = hn::Add(sum, hn::Set(d, -128.0f * static_cast<float>(group.sum)));
    auto total = resume ? hn::Load(d, out) : hn::Zero(d);
    total = hn::MulAdd(hn::Mul(scale, hn::Set(d, group.scale)), sum, total);
    if constexpr (!kInt8) {
      const auto offset = hn::PromoteTo(d, hn::LoadU(d16, scales + kPanelColumns));
      total = hn::MulAdd(offset, hn::Set(d, group.scale * static_cast<float>(group.sum)), total);
    }
    hn::Store(total, d, out);
  }
}

template <WeightFormat kFormat, int kRows>
void run_groups(const TileArgs& args) {
  constexpr StepLayout kLayout = step_layout(kFormat);
  constexpr auto kLanes = static_cast<std::int64_t>(hn::MaxLanes(GroupFloats()));
  const RowGroup* groups[kRows];
  for (int r = 0; r < kRows; ++r) groups[r] = reinterpret_cast<const RowGroup*>(args.x + r * args.x_stride);
  float x[kRows][kGroup];
  const std::byte* w = args.w;
  const std::byte* ahead = args.ahead;
  for (std::int64_t step = 0; step < args.steps; ++step, w += kLayout.panel_bytes) {
    ahead = fetch_ahead(ahead, args.ahead_lines);
    for (int r = 0; r < kRows; ++r) {
      for (std::int64_t i = 0; i < kGroup; ++i)
        x[r][i] = static_cast<float>(groups[r]->q[static_cast<std::size_t>(i)]);
    }
    for (std::int64_t column = 0; column < kPanelColumns; column += kLanes)
      add_columns<kFormat, kRows>(groups, x, w, column, args.tile, args.resume || step > 0);
    for (const RowGroup*& group : groups) ++group;
  }
}

template <WeightFormat kFormat>
const TileKernels& group_kernels_of() {
  static const TileKernels kernels = {
      {run_groups<kFormat, 1>, run_groups<kFormat, 2>, run_groups<kFormat, 3>, run_groups<kFormat, 4>,
       run_groups<kFormat, 5>, run_groups<kFormat, 6>},
      6,
      1,
      4096};
  return kernels;
}

const TileKernels& group_kernels_for(WeightFormat format) {
  return format == WeightFormat::kInt8 ? group_kernels_of<WeightFormat::kInt8>()
                                       : group_kernels_of<WeightFormat::kInt4>();
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(group_kernels_for);

const TileKernels& portable_group_kernels(WeightFormat format) {
  return HWY_DYNAMIC_DISPATCH(group_kernels_for)(format);
}

}  // namespace dslad::kernels
#endif
