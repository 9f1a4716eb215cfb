#include "kernels/gemm/pack_lines.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/simd_targets.h"
#include "kernels/gemm/round_avx512_bf16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/pack_lines.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/highway.h>

#include "kernels/gemm/round-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Step = std::uint32_t;

constexpr std::int64_t kPanelLines = 64;
constexpr std::int64_t kTileSteps = 64;  // with kPanelLines 16 KiB: half of the first-level cache

// How the elements of one type become steps: a whole line with its elements side by side, or one step of many
// lines with the lines' elements side by side.
struct FromF32 {
  using Element = float;
  static constexpr std::int64_t kPerStep = 1;
  static void line(const float* x, std::int64_t k, Step* out) {
    std::memcpy(out, x, static_cast<std::size_t>(k) * sizeof(float));
  }
  static void step(const float* x, const float*, std::int64_t lines, Step* out) {
    std::memcpy(out, x, static_cast<std::size_t>(lines) * sizeof(float));
  }
};

struct FromBf16 {
  using Element = bf16;
  static constexpr std::int64_t kPerStep = 2;
  static void line(const bf16* x, std::int64_t k, Step* out) {
    out[(k - 1) / 2] = 0;
    std::memcpy(out, x, static_cast<std::size_t>(k) * sizeof(bf16));
  }
  static void step(const bf16* low, const bf16* high, std::int64_t lines, Step* out) {
    const hn::ScalableTag<Step> d;
    const hn::Rebind<std::uint16_t, decltype(d)> half;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    std::int64_t i = 0;
    for (; i + lanes <= lines; i += lanes) {
      const auto upper = hn::PromoteTo(d, hn::LoadU(half, &high[i].bits));
      const auto lower = hn::PromoteTo(d, hn::LoadU(half, &low[i].bits));
      hn::StoreU(hn::Or(lower, hn::ShiftLeft<16>(upper)), d, out + i);
    }
    for (; i < lines; ++i) out[i] = low[i].bits | Step{high[i].bits} << 16;
  }
};

struct FromF32Rounded {
  using Element = float;
  static constexpr std::int64_t kPerStep = 2;
  static void line(const float* x, std::int64_t k, Step* out) {
    out[(k - 1) / 2] = 0;
    round_row(x, k, reinterpret_cast<bf16*>(out));
  }
  static void step(const float* low, const float* high, std::int64_t lines, Step* out) {
    const hn::ScalableTag<float> d;
    const hn::RebindToUnsigned<decltype(d)> bits;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    std::int64_t i = 0;
    for (; i + lanes <= lines; i += lanes) {
      const auto lower = rounded_bits(d, hn::LoadU(d, low + i));
      const auto upper = rounded_bits(d, hn::LoadU(d, high + i));
      hn::StoreU(hn::Or(lower, hn::ShiftLeft<16>(upper)), bits, out + i);
    }
    for (; i < lines; ++i) out[i] = to_bf16(low[i]).bits | Step{to_bf16(high[i]).bits} << 16;
  }
};

struct FromF32RoundedByMachine : FromF32Rounded {
  static void line(const float* x, std::int64_t k, Step* out) {
    out[(k - 1) / 2] = 0;
    round_line_avx512_bf16(x, k, reinterpret_cast<bf16*>(out));
  }
  static void step(const float* low, const float* high, std::int64_t lines, Step* out) {
    round_pairs_avx512_bf16(low, high, lines, out);
  }
};

// Another instruction set that is asked for gets its own code.
bool machine_rounds() {
  return HWY_TARGET == HWY_AVX3 && has_avx512_bf16();
}

// out[j][i] = in[i][j], both in blocks of four.
void transpose(const Step* in, std::int64_t in_stride, std::int64_t rows, std::int64_t columns, Step* out,
               std::int64_t out_stride) {
#if HWY_TARGET == HWY_SCALAR
  for (std::int64_t j = 0; j < columns; ++j) {
    for (std::int64_t i = 0; i < rows; ++i) out[j * out_stride + i] = in[i * in_stride + j];
  }
#else
  const hn::Full128<Step> d;
  const hn::Full128<std::uint64_t> pairs;
  for (std::int64_t j = 0; j + 4 <= columns; j += 4) {
    for (std::int64_t i = 0; i + 4 <= rows; i += 4) {
      const Step* from = in + i * in_stride + j;
      const auto a = hn::LoadU(d, from), b = hn::LoadU(d, from + in_stride);
      const auto c = hn::LoadU(d, from + 2 * in_stride), e = hn::LoadU(d, from + 3 * in_stride);
      const auto ab0 = hn::BitCast(pairs, hn::InterleaveLower(d, a, b));
      const auto ce0 = hn::BitCast(pairs, hn::InterleaveLower(d, c, e));
      const auto ab1 = hn::BitCast(pairs, hn::InterleaveUpper(d, a, b));
      const auto ce1 = hn::BitCast(pairs, hn::InterleaveUpper(d, c, e));
      Step* to = out + j * out_stride + i;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, ab0, ce0)), d, to);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, ab0, ce0)), d, to + out_stride);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, ab1, ce1)), d, to + 2 * out_stride);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, ab1, ce1)), d, to + 3 * out_stride);
    }
  }
#endif
}

// The lines' own order: `steps` steps of each at out + i * out_stride.
template <class From>
void read_lines(const Lines& lines, std::int64_t steps, Step* out, std::int64_t out_stride) {
  const auto* source = reinterpret_cast<const typename From::Element*>(lines.data);
  const std::int64_t used = (lines.k + From::kPerStep - 1) / From::kPerStep;
  for (std::int64_t i = 0; i < lines.count; ++i, out += out_stride) {
    if (lines.k > 0) From::line(source + i * lines.line_stride, lines.k, out);
    std::fill(out + used, out + steps, Step{0});
  }
}

// Steps first: `width` lines of each step at out + step * out_stride.
template <class From>
void read_steps(const Lines& lines, std::int64_t steps, std::int64_t width, Step* out,
                std::int64_t out_stride) {
  static constexpr typename From::Element kBeyondK[kPanelLines] = {};
  const auto* source = reinterpret_cast<const typename From::Element*>(lines.data);
  for (std::int64_t step = 0; step < steps; ++step, out += out_stride) {
    const std::int64_t at = step * From::kPerStep;
    if (at >= lines.k) {
      std::fill_n(out, width, Step{0});
      continue;
    }
    const auto* low = source + at * lines.k_stride;
    From::step(low, at + 1 < lines.k ? low + lines.k_stride : kBeyondK, lines.count, out);
    std::fill(out + lines.count, out + width, Step{0});
  }
}

// A tile of up to kTileSteps steps that starts at step `first`.
template <class From>
Lines steps_of(const Lines& lines, std::int64_t first, std::int64_t steps) {
  const std::int64_t at = std::min(lines.k, first * From::kPerStep);
  return lines.part(0, lines.count, at, std::min(lines.k - at, steps * From::kPerStep));
}

template <class From>
void pack_lines_of(const Lines& lines, std::int64_t padded, std::int64_t steps, Step* out) {
  if (lines.k_stride == 1) {
    read_lines<From>(lines, steps, out, steps);
    std::fill(out + lines.count * steps, out + padded * steps, Step{0});
    return;
  }
  alignas(64) Step tile[kTileSteps * kPanelLines];
  for (std::int64_t line = 0; line < lines.count; line += kPanelLines) {
    const Lines group = lines.part(line, std::min(kPanelLines, lines.count - line), 0, lines.k);
    for (std::int64_t step = 0; step < steps; step += kTileSteps) {
      const std::int64_t some = std::min(kTileSteps, steps - step);
      read_steps<From>(steps_of<From>(group, step, some), some, kPanelLines, tile, kPanelLines);
      transpose(tile, kPanelLines, some, std::min(kPanelLines, padded - line), out + line * steps + step,
                steps);
    }
  }
}

template <class From>
void pack_panel_of(const Lines& lines, std::int64_t steps, Step* out) {
  if (lines.k_stride != 1) return read_steps<From>(lines, steps, kPanelLines, out, kPanelLines);
  alignas(64) Step tile[kPanelLines * kTileSteps];
  std::fill(tile + lines.count * kTileSteps, tile + kPanelLines * kTileSteps, Step{0});
  for (std::int64_t step = 0; step < steps; step += kTileSteps) {
    const std::int64_t some = std::min(kTileSteps, steps - step);
    read_lines<From>(steps_of<From>(lines, step, some), some, tile, kTileSteps);
    transpose(tile, kTileSteps, kPanelLines, some, out + step * kPanelLines, kPanelLines);
  }
}

void pack_as_lines(const Lines& lines, std::int64_t padded, DType to, std::int64_t steps, std::byte* out) {
  auto* target = reinterpret_cast<Step*>(out);
  if (to == DType::kF32) return pack_lines_of<FromF32>(lines, padded, steps, target);
  if (lines.dtype == DType::kBf16) return pack_lines_of<FromBf16>(lines, padded, steps, target);
  if (machine_rounds()) return pack_lines_of<FromF32RoundedByMachine>(lines, padded, steps, target);
  pack_lines_of<FromF32Rounded>(lines, padded, steps, target);
}

void pack_as_panel(const Lines& lines, DType to, std::int64_t steps, std::byte* out) {
  auto* target = reinterpret_cast<Step*>(out);
  if (to == DType::kF32) return pack_panel_of<FromF32>(lines, steps, target);
  if (lines.dtype == DType::kBf16) return pack_panel_of<FromBf16>(lines, steps, target);
  if (machine_rounds()) return pack_panel_of<FromF32RoundedByMachine>(lines, steps, target);
  pack_panel_of<FromF32Rounded>(lines, steps, target);
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(pack_as_lines);
HWY_EXPORT(pack_as_panel);

void pack_lines(const Lines& lines, std::int64_t padded, DType to, std::int64_t steps, std::byte* out) {
  HWY_DYNAMIC_DISPATCH(pack_as_lines)(lines, padded, to, steps, out);
}

void pack_panel(const Lines& lines, DType to, std::int64_t steps, std::byte* out) {
  HWY_DYNAMIC_DISPATCH(pack_as_panel)(lines, to, steps, out);
}

}  // namespace dslad::kernels
#endif
