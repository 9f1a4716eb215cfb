// Products of small float32 blocks, C = A B or C += A B, for code that is compiled once per instruction set.
//
//   A [m, k] f32, any strides      B [k, n] f32 or bf16, rows contiguous      C [m, n] f32, rows contiguous
// B's rows may also lie in pairs of bf16, as products of bf16 tiles take them: [k / 2, n, 2], rounded up.
// Register tiles of 6 rows; B's strip of columns stays in the first-level cache while A's rows pass by.
// An element is one chain of multiply-adds in the order of k, whatever its place in the block: a row's
// result does not depend on m, n or the other rows. Nothing beyond the stated extents is read or written.

// Per-target include guard, as Highway wants it.
#if defined(DSLAD_KERNELS_CPU_SMALL_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DSLAD_KERNELS_CPU_SMALL_GEMM_INL_H_
#undef DSLAD_KERNELS_CPU_SMALL_GEMM_INL_H_
#else
#define DSLAD_KERNELS_CPU_SMALL_GEMM_INL_H_
#endif

#include <hwy/highway.h>

#include "kernels/tensor.h"

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct LeftBlock {
  const float* data;
  std::int64_t row_stride, column_stride;  // floats
};

// Elements of two consecutive rows of B.
struct Bf16Pair {
  bf16 of[2];
};

// Rows of B that lie side by side.
template <class T>
inline constexpr std::int64_t kRowsTogether = 1;
template <>
inline constexpr std::int64_t kRowsTogether<Bf16Pair> = 2;

template <class T>
struct RightBlock {
  const T* data;
  std::int64_t row_stride;  // elements, or pairs
  const T* next = nullptr;  // a block of the same layout that is wanted soon: fetched while this one is used
};

template <class T>
HWY_INLINE RightBlock<T> shifted(RightBlock<T> b, std::int64_t columns) {
  return {b.data + columns, b.row_stride, b.next == nullptr ? nullptr : b.next + columns};
}

struct OutBlock {
  float* data;
  std::int64_t row_stride;  // floats
};

enum class GemmMode { kOverwrite, kAccumulate };

constexpr int kGemmRows = 6;
// Accumulators, one row of B and one broadcast must fit the 32 or 16 registers.
constexpr int kGemmVectors = HWY_MAX_BYTES >= 64 ? 4 : 2;

template <class D>
HWY_INLINE hn::Vec<D> load_f32(D d, const float* p) {
  return hn::LoadU(d, p);
}

template <class D>
HWY_INLINE hn::Vec<D> load_f32(D d, const bf16* p) {
  const hn::Rebind<std::uint16_t, D> d16;
  const hn::RebindToUnsigned<D> d32;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, &p->bits))));
}

// Row `which` of those together.
template <class D, class T>
HWY_INLINE hn::Vec<D> load_row(D d, const T* p, std::int64_t /*which*/) {
  return load_f32(d, p);
}

template <class D>
HWY_INLINE hn::Vec<D> load_row(D d, const Bf16Pair* p, std::int64_t which) {
  const hn::RebindToUnsigned<D> d32;
  const auto pairs = hn::LoadU(d32, reinterpret_cast<const std::uint32_t*>(p));
  return hn::BitCast(d, which == 0 ? hn::ShiftLeft<16>(pairs) : hn::And(pairs, hn::Set(d32, 0xffff0000u)));
}

template <int kRows, int kVectors, class D, class T>
HWY_INLINE void gemm_tile(D d, std::int64_t k, LeftBlock a, RightBlock<T> b, OutBlock c, GemmMode mode) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  hn::Vec<D> sums[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) {
      sums[i][j] =
          mode == GemmMode::kAccumulate ? hn::LoadU(d, c.data + i * c.row_stride + j * lanes) : hn::Zero(d);
    }
  }
  // Into the second level: the first has too few outstanding misses to hide the memory's latency (half the
  // bandwidth on Zen 4).
  constexpr int kSecondLevel = 2;
  constexpr auto kLineElements = static_cast<std::int64_t>(64 / sizeof(T));
  const auto add_row = [&](std::int64_t x, std::int64_t which) HWY_ATTR {
    const T* from = b.data + x / kRowsTogether<T> * b.row_stride;
    hn::Vec<D> row[kVectors];
    for (int j = 0; j < kVectors; ++j) row[j] = load_row(d, from + j * lanes, which);
    for (int i = 0; i < kRows; ++i) {
      const auto scalar = hn::Set(d, a.data[i * a.row_stride + x * a.column_stride]);
      for (int j = 0; j < kVectors; ++j) sums[i][j] = hn::MulAdd(scalar, row[j], sums[i][j]);
    }
  };
  for (std::int64_t x = 0; x < k; x += kRowsTogether<T>) {
    if (b.next != nullptr) {
      for (std::int64_t j = 0; j < kVectors * lanes; j += kLineElements) {
        __builtin_prefetch(b.next + x / kRowsTogether<T> * b.row_stride + j, 0, kSecondLevel);
      }
    }
    add_row(x, 0);
    if (kRowsTogether<T> == 2 && x + 1 < k) add_row(x + 1, 1);
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) hn::StoreU(sums[i][j], d, c.data + i * c.row_stride + j * lanes);
  }
}

// All rows of one strip of columns, in tiles of about equal height.
template <int kVectors, class D, class T>
HWY_INLINE void gemm_strip(D d, std::int64_t m, std::int64_t k, LeftBlock a, RightBlock<T> b, OutBlock c,
                           GemmMode mode) {
  for (std::int64_t tiles = (m + kGemmRows - 1) / kGemmRows; tiles > 0; --tiles) {
    const std::int64_t rows = (m + tiles - 1) / tiles;
    static_assert(kGemmRows == 6);
    switch (rows) {
      case 1:
        gemm_tile<1, kVectors>(d, k, a, b, c, mode);
        break;
      case 2:
        gemm_tile<2, kVectors>(d, k, a, b, c, mode);
        break;
      case 3:
        gemm_tile<3, kVectors>(d, k, a, b, c, mode);
        break;
      case 4:
        gemm_tile<4, kVectors>(d, k, a, b, c, mode);
        break;
      case 5:
        gemm_tile<5, kVectors>(d, k, a, b, c, mode);
        break;
      default:
        gemm_tile<6, kVectors>(d, k, a, b, c, mode);
        break;
    }
    m -= rows;
    a.data += rows * a.row_stride;
    c.data += rows * c.row_stride;
    b.next = nullptr;
  }
}

// Columns that fill no whole vector: by halves of it.
template <class D, class T>
HWY_INLINE void gemm_columns(D d, std::int64_t m, std::int64_t n, std::int64_t k, LeftBlock a,
                             RightBlock<T> b, OutBlock c, GemmMode mode) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (; n >= lanes; n -= lanes) {
    gemm_strip<1>(d, m, k, a, b, c, mode);
    b = shifted(b, lanes);
    c.data += lanes;
  }
  if constexpr (hn::MaxLanes(d) > 1) {
    if (n > 0) gemm_columns(hn::Half<D>(), m, n, k, a, b, c, mode);
  }
}

template <class T>
HWY_NOINLINE void small_gemm(std::int64_t m, std::int64_t n, std::int64_t k, LeftBlock a, RightBlock<T> b,
                             OutBlock c, GemmMode mode) {
  const hn::ScalableTag<float> d;
  const std::int64_t strip = kGemmVectors * static_cast<std::int64_t>(hn::Lanes(d));
  for (; n >= strip; n -= strip) {
    gemm_strip<kGemmVectors>(d, m, k, a, b, c, mode);
    b = shifted(b, strip);
    c.data += strip;
  }
  if (n > 0) gemm_columns(d, m, n, k, a, b, c, mode);
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
