#include "kernels/gemm/quantized_group.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/quantized_group.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/highway.h>

#include "kernels/gemm/round-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A group's values are two vectors or more.
using Floats = hn::CappedTag<float, 16>;
using Ints = hn::RebindToSigned<Floats>;

// What a scale below it would be is taken for zero: its inverse is not a float.
constexpr float kSmallestValue = 1e-30f;

void quantize_row_groups(const float* x, std::int64_t groups, RowGroup* out) {
  const Floats d;
  const Ints di;
  const hn::Rebind<std::int8_t, Floats> d8;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t g = 0; g < groups; ++g, x += kGroup, ++out) {
    auto largest = hn::Zero(d);
    auto finite = hn::Eq(largest, largest);
    const auto most = hn::Set(d, std::numeric_limits<float>::max());
    for (std::int64_t i = 0; i < kGroup; i += lanes) {
      const auto magnitude = hn::Abs(hn::LoadU(d, x + i));
      finite = hn::And(finite, hn::Le(magnitude, most));
      largest = hn::Max(largest, magnitude);
    }
    const float magnitude = hn::GetLane(hn::MaxOfLanes(d, largest));
    const bool all_finite = hn::AllTrue(d, finite);
    const bool used = all_finite && magnitude >= kSmallestValue;
    out->scale = !all_finite ? std::numeric_limits<float>::quiet_NaN() : used ? magnitude / 127.0f : 0.0f;
    const auto inverse = hn::Set(d, used ? 127.0f / magnitude : 0.0f);
    auto sum = hn::Zero(di);
    for (std::int64_t i = 0; i < kGroup; i += lanes) {
      const auto value = used ? hn::LoadU(d, x + i) : hn::Zero(d);
      const auto q = hn::NearestInt(hn::Mul(value, inverse));
      sum = hn::Add(sum, q);
      hn::StoreU(hn::DemoteTo(d8, q), d8, out->q.data() + i);
    }
    out->sum = hn::GetLane(hn::SumOfLanes(di, sum));
  }
}

// A candidate for the scale and the offset of a group of 4 bits, as float16 rounds them.
struct Line {
  float scale, offset;
};

float as_float16(float value) {
  constexpr float kLargest = 65504.0f;
  return to_float(to_f16(std::clamp(value, -kLargest, kLargest)));
}

Line rounded(Line line) {
  return {as_float16(line.scale), as_float16(line.offset)};
}

// The sums over a group that least squares want, with each value at its nearest level.
struct Fit {
  float error;      // squared
  float u, uu, uw;  // sums of the levels, their squares, and their products with w
};

template <class D>
HWY_INLINE hn::Vec<D> levels(D d, hn::Vec<D> w, hn::Vec<D> offset, hn::Vec<D> inverse) {
  const auto level = hn::Round(hn::Mul(hn::Sub(w, offset), inverse));
  return hn::Min(hn::Max(level, hn::Zero(d)), hn::Set(d, 15.0f));
}

HWY_INLINE float inverse_of(float scale) {
  return scale == 0.0f ? 0.0f : 1.0f / scale;
}

Fit fit_of(const float* w, Line line) {
  const Floats d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto scale = hn::Set(d, line.scale), offset = hn::Set(d, line.offset);
  const auto inverse = hn::Set(d, inverse_of(line.scale));
  auto error = hn::Zero(d), u = hn::Zero(d), uu = hn::Zero(d), uw = hn::Zero(d);
  for (std::int64_t i = 0; i < kGroup; i += lanes) {
    const auto value = hn::LoadU(d, w + i);
    const auto level = levels(d, value, offset, inverse);
    const auto off = hn::Sub(hn::MulAdd(scale, level, offset), value);
    error = hn::MulAdd(off, off, error);
    u = hn::Add(u, level);
    uu = hn::MulAdd(level, level, uu);
    uw = hn::MulAdd(level, value, uw);
  }
  const auto total = [&](hn::Vec<Floats> sum) HWY_ATTR { return hn::GetLane(hn::SumOfLanes(d, sum)); };
  return {total(error), total(u), total(uu), total(uw)};
}

class Search {
 public:
  explicit Search(const float* w) : w_(w) {
    for (std::int64_t i = 0; i < kGroup; ++i) sum_ += w[i];
  }

  // Takes the line if it is better, and what least squares make of its levels if that is.
  void consider(Line line) {
    if (best_error_ == 0.0f) return;
    const Fit fit = take(rounded(line));
    const float spread = static_cast<float>(kGroup) * fit.uu - fit.u * fit.u;
    if (spread <= 0.0f) return;
    const float scale = (static_cast<float>(kGroup) * fit.uw - fit.u * sum_) / spread;
    take(rounded({scale, (sum_ - scale * fit.u) / static_cast<float>(kGroup)}));
  }
  [[nodiscard]] Line best() const { return best_; }

 private:
  Fit take(Line line) {
    const Fit fit = fit_of(w_, line);
    if (fit.error < best_error_) {
      best_error_ = fit.error;
      best_ = line;
    }
    return fit;
  }

  const float* w_;
  float sum_ = 0.0f;
  Line best_{0.0f, 0.0f};
  float best_error_ = std::numeric_limits<float>::infinity();
};

// First the lines of GGUF's formats, so that what came from them goes back into itself; then narrower and
// wider ones, whose outer values are off so that the others are nearer.
void quantize_group_int4(const float* w, WeightGroup* out) {
  const auto [least, most] = std::minmax_element(w, w + kGroup);
  const float extreme = std::abs(*least) > std::abs(*most) ? *least : *most;
  Search search(w);
  search.consider({(*most - *least) / 15.0f, *least});
  search.consider({extreme / -8.0f, extreme});
  for (const float steps : {13.0f, 13.5f, 14.0f, 14.5f, 15.5f, 16.0f, 17.0f, 18.0f})
    search.consider({(*most - *least) / steps, *least});
  const Line line = search.best();
  out->scale = to_f16(line.scale);
  out->offset = to_f16(line.offset);
  const Floats d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const hn::Rebind<std::uint8_t, Floats> d8;
  for (std::int64_t i = 0; i < kGroup; i += lanes) {
    const auto level =
        levels(d, hn::LoadU(d, w + i), hn::Set(d, line.offset), hn::Set(d, inverse_of(line.scale)));
    hn::StoreU(hn::DemoteTo(d8, hn::NearestInt(level)), d8, out->u.data() + i);
  }
}

// Of 16 columns or fewer, the four values of K that a 32-bit lane holds, each times its column's scale plus
// its offset, as two vectors of pairs.
template <class D>
HWY_INLINE void widen_quads(D d, hn::Vec<hn::RebindToUnsigned<D>> quads, hn::Vec<D> scale, hn::Vec<D> offset,
                            std::uint32_t* pairs) {
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const auto byte = hn::Set(du, 0xffu);
  const auto widened = [&](hn::Vec<decltype(du)> values) HWY_ATTR {
    const auto number = hn::ConvertTo(d, hn::BitCast(di, hn::And(values, byte)));
    return rounded_bits(d, hn::MulAdd(scale, number, offset));
  };
  const auto v0 = widened(quads), v1 = widened(hn::ShiftRight<8>(quads));
  const auto v2 = widened(hn::ShiftRight<16>(quads)), v3 = widened(hn::ShiftRight<24>(quads));
  hn::StoreU(hn::Or(v0, hn::ShiftLeft<16>(v1)), du, pairs);
  hn::StoreU(hn::Or(v2, hn::ShiftLeft<16>(v3)), du, pairs + 64);
}

template <WeightFormat kFormat>
void widen_groups(const std::byte* panel, std::int64_t groups, std::uint32_t* out) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> du;
  const hn::Rebind<hwy::float16_t, Floats> d16;
  constexpr bool kInt8 = kFormat == WeightFormat::kInt8;
  constexpr StepLayout kLayout = step_layout(kFormat);
  constexpr std::int64_t kRows = kInt8 ? kGroup / 4 : kGroup / 8;  // of 64 columns' bytes
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t g = 0; g < groups; ++g, panel += kLayout.panel_bytes, out += kGroup / 2 * 64) {
    // A column's lines lie 256 bytes apart: no processor sees by itself that all are wanted.
    constexpr std::int64_t kAhead = 4;  // groups
    for (std::int64_t line = 0; line < kLayout.panel_bytes; line += 64)
      __builtin_prefetch(panel + kAhead * kLayout.panel_bytes + line, 0, 3);
    const auto* u = reinterpret_cast<const std::uint32_t*>(panel);
    const auto* scales = reinterpret_cast<const hwy::float16_t*>(panel + kRows * 256);
    for (std::int64_t column = 0; column < 64; column += lanes) {
      const auto scale = hn::PromoteTo(d, hn::LoadU(d16, scales + column));
      const auto offset = kInt8 ? hn::Mul(scale, hn::Set(d, -128.0f))
                                : hn::PromoteTo(d, hn::LoadU(d16, scales + 64 + column));
      for (std::int64_t i = 0; i < kRows; ++i) {
        const auto quads = hn::LoadU(du, u + i * 64 + column);
        if constexpr (kInt8) {
          widen_quads(d, quads, scale, offset, out + i * 2 * 64 + column);
        } else {
          const auto mask = hn::Set(du, 0x0f0f0f0fu);
          widen_quads(d, hn::And(quads, mask), scale, offset, out + i * 2 * 64 + column);
          widen_quads(d, hn::And(hn::ShiftRight<4>(quads), mask), scale, offset,
                      out + (kRows + i) * 2 * 64 + column);
        }
      }
    }
  }
}

void widen_int8(const std::byte* panel, std::int64_t groups, std::uint32_t* out) {
  widen_groups<WeightFormat::kInt8>(panel, groups, out);
}

void widen_int4(const std::byte* panel, std::int64_t groups, std::uint32_t* out) {
  widen_groups<WeightFormat::kInt4>(panel, groups, out);
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(quantize_row_groups);
HWY_EXPORT(quantize_group_int4);
HWY_EXPORT(widen_int8);
HWY_EXPORT(widen_int4);

namespace {

std::array<float, kGroup> filled_up(const float* w, std::int64_t count, float rest) {
  std::array<float, kGroup> group;
  std::fill(std::copy_n(w, count, group.begin()), group.end(), rest);
  return group;
}

}  // namespace

WeightGroup quantize_int8(const float* w, std::int64_t count) {
  const std::array<float, kGroup> group = filled_up(w, count, 0.0f);
  float largest = 0.0f;
  for (const float value : group) largest = std::max(largest, std::abs(value));
  WeightGroup out{};
  out.scale = to_f16(std::min(largest / 127.0f, 65504.0f));
  // Subnormal scales are coarse: rounded down, one would cut the largest values off.
  if (largest < 127.0f * 0x1p-14f && to_float(out.scale) * 127.0f < largest) ++out.scale.bits;
  const float scale = to_float(out.scale);
  for (std::size_t i = 0; i < group.size(); ++i) {
    const float q = scale == 0.0f ? 0.0f : std::nearbyint(group[i] / scale);
    out.u[i] = static_cast<std::uint8_t>(128.0f + std::clamp(q, -127.0f, 127.0f));
  }
  return out;
}

WeightGroup quantize_int4(const float* w, std::int64_t count) {
  const std::array<float, kGroup> group = filled_up(w, count, w[0]);
  WeightGroup out{};
  HWY_DYNAMIC_DISPATCH(quantize_group_int4)(group.data(), &out);
  return out;
}

void quantize_row(const float* x, std::int64_t k, RowGroup* out) {
  const std::int64_t whole = k / kGroup;
  HWY_DYNAMIC_DISPATCH(quantize_row_groups)(x, whole, out);
  if (k % kGroup == 0) return;
  const std::array<float, kGroup> last = filled_up(x + whole * kGroup, k % kGroup, 0.0f);
  HWY_DYNAMIC_DISPATCH(quantize_row_groups)(last.data(), 1, out + whole);
}

void widen_panel(const std::byte* panel, std::int64_t groups, WeightFormat format, bf16* out) {
  auto* pairs = reinterpret_cast<std::uint32_t*>(out);
  if (format == WeightFormat::kInt8) {
    HWY_DYNAMIC_DISPATCH(widen_int8)(panel, groups, pairs);
  } else {
    HWY_DYNAMIC_DISPATCH(widen_int4)(panel, groups, pairs);
  }
}

}  // namespace dslad::kernels
#endif
