#include "kernels/gemm/packed_matrix.h"

#include "kernels/cpu/huge_slab.h"

namespace dslad::kernels {
namespace {

constexpr std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Elements of K that lie side by side in one column: the pair of a bf16 dot product.
constexpr std::int64_t interleave(DType dtype) {
  return dtype == DType::kBf16 ? 2 : 1;
}

constexpr std::int64_t k_unit(DType dtype) {
  return 16 * interleave(dtype);
}

float convert(float value, float) {
  return value;
}
float convert(bf16 value, float) {
  return to_float(value);
}
bf16 convert(float value, bf16) {
  return to_bf16(value);
}
bf16 convert(bf16 value, bf16) {
  return value;
}

// Where W[row, 0] lies in elements; W[row, k] follows at (k / I * kPanel * I + k % I), I the interleaving.
std::int64_t row_offset(std::int64_t row, std::int64_t padded_k, std::int64_t interleaving) {
  return row / kPanel * kPanel * padded_k + row % kPanel * interleaving;
}

template <std::int64_t kInterleave, typename To, typename From>
void scatter_row(const From* source, To* target, std::int64_t k) {
  for (std::int64_t i = 0; i < k; ++i) {
    target[i / kInterleave * kInterleave * kPanel + i % kInterleave] = convert(source[i], To{});
  }
}

template <typename From>
void pack(std::byte* data, DType dtype, std::int64_t padded_k, std::int64_t first, std::int64_t rows,
          std::int64_t k, const From* source) {
  for (std::int64_t row = first; row < first + rows; ++row, source += k) {
    const std::int64_t offset = row_offset(row, padded_k, interleave(dtype));
    if (dtype == DType::kBf16) {
      scatter_row<2>(source, reinterpret_cast<bf16*>(data) + offset, k);
    } else {
      scatter_row<1>(source, reinterpret_cast<float*>(data) + offset, k);
    }
  }
}

}  // namespace

PackedMatrix::PackedMatrix(std::int64_t n, std::int64_t k, DType dtype)
    : n_(n), k_(k), dtype_(dtype), data_(allocate_in_slab(packed_bytes(n, k, dtype))) {}

std::size_t PackedMatrix::packed_bytes(std::int64_t n, std::int64_t k, DType dtype) {
  return static_cast<std::size_t>(round_up(n, kPanel) * round_up(k, k_unit(dtype))) * size_of(dtype);
}

void PackedMatrix::pack_rows(std::int64_t first, std::int64_t rows, const float* source) {
  pack(data_.get(), dtype_, padded_k(), first, rows, k_, source);
}

void PackedMatrix::pack_rows(std::int64_t first, std::int64_t rows, const bf16* source) {
  pack(data_.get(), dtype_, padded_k(), first, rows, k_, source);
}

void PackedMatrix::unpack_row(std::int64_t row, float* out) const {
  const std::int64_t offset = row_offset(row, padded_k(), interleave(dtype_));
  if (dtype_ == DType::kBf16) {
    const auto* w = reinterpret_cast<const bf16*>(data_.get()) + offset;
    for (std::int64_t i = 0; i < k_; ++i) out[i] = to_float(w[i / 2 * 2 * kPanel + i % 2]);
  } else {
    const auto* w = reinterpret_cast<const float*>(data_.get()) + offset;
    for (std::int64_t i = 0; i < k_; ++i) out[i] = w[i * kPanel];
  }
}

std::int64_t PackedMatrix::padded_n() const {
  return round_up(n_, kPanel);
}

std::int64_t PackedMatrix::padded_k() const {
  return round_up(k_, k_unit(dtype_));
}

std::size_t PackedMatrix::bytes() const {
  return packed_bytes(n_, k_, dtype_);
}

}  // namespace dslad::kernels
