#include "kernels/gemm/packed_matrix.h"

#include <algorithm>

#include "kernels/cpu/huge_slab.h"
#include "kernels/gemm/quantized_group.h"

namespace dslad::kernels {
namespace {

constexpr std::int64_t whole_units(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

constexpr std::int64_t k_unit(WeightFormat format) {
  return step_layout(format).values * step_layout(format).block;
}

// One value a row and step, or a pair of them.
template <std::int64_t kInterleave, typename To, typename Convert>
void scatter_row(const float* source, To* target, std::int64_t k, const Convert& convert) {
  for (std::int64_t i = 0; i < k; ++i)
    target[i / kInterleave * kInterleave * kPanel + i % kInterleave] = convert(source[i]);
}

// Where a group's parts lie in its step of a panel.
constexpr std::int64_t kFours = kGroup / 4;
constexpr std::int64_t value_bytes(WeightFormat format) {
  return format == WeightFormat::kInt8 ? kFours * kPanel * 4 : kFours / 2 * kPanel * 4;
}

void put_group(const WeightGroup& group, WeightFormat format, std::int64_t column, std::byte* step) {
  auto* u = reinterpret_cast<std::uint8_t*>(step) + column * 4;
  for (std::int64_t i = 0; i < kGroup; ++i) {
    const std::uint8_t value = group.u[static_cast<std::size_t>(i)];
    if (format == WeightFormat::kInt8) {
      u[i / 4 * kPanel * 4 + i % 4] = value;
    } else {
      std::uint8_t& pair = u[i % (kGroup / 2) / 4 * kPanel * 4 + i % 4];
      pair = static_cast<std::uint8_t>(i < kGroup / 2 ? (pair & 0xf0) | value : (pair & 0x0f) | value << 4);
    }
  }
  auto* scales = reinterpret_cast<f16*>(step + value_bytes(format));
  scales[column] = group.scale;
  if (format == WeightFormat::kInt4) scales[kPanel + column] = group.offset;
}

float value_of(const std::byte* step, WeightFormat format, std::int64_t column, std::int64_t i) {
  const auto* u = reinterpret_cast<const std::uint8_t*>(step) + column * 4;
  const auto* scales = reinterpret_cast<const f16*>(step + value_bytes(format));
  const float scale = to_float(scales[column]);
  if (format == WeightFormat::kInt8) {
    const std::int64_t at = i / 4 * kPanel * 4 + i % 4;
    return scale * (static_cast<float>(u[at]) - 128.0f);
  }
  const std::uint8_t pair = u[i % (kGroup / 2) / 4 * kPanel * 4 + i % 4];
  return scale * static_cast<float>(i < kGroup / 2 ? pair & 15 : pair >> 4) +
         to_float(scales[kPanel + column]);
}

}  // namespace

PackedMatrix::PackedMatrix(std::int64_t n, std::int64_t k, WeightFormat format)
    : WeightMatrix(n, k, format), data_(allocate_in_slab(packed_bytes(n, k, format))) {}

std::size_t PackedMatrix::packed_bytes(std::int64_t n, std::int64_t k, WeightFormat format) {
  const StepLayout step = step_layout(format);
  return static_cast<std::size_t>(whole_units(n, kPanel) / kPanel *
                                  (whole_units(k, k_unit(format)) / step.values) * step.panel_bytes);
}

void PackedMatrix::pack_rows(std::int64_t first, std::int64_t rows, const float* source) {
  for (std::int64_t row = first; row < first + rows; ++row, source += k()) {
    const std::int64_t column = row % kPanel;
    switch (format()) {
      case WeightFormat::kF32:
        scatter_row<1>(source, reinterpret_cast<float*>(panel_at(row)) + column, k(),
                       [](float value) { return value; });
        break;
      case WeightFormat::kBf16:
        scatter_row<2>(source, reinterpret_cast<bf16*>(panel_at(row)) + column * 2, k(), to_bf16);
        break;
      case WeightFormat::kInt8:
      case WeightFormat::kInt4:
        pack_groups(row, source);
        break;
    }
  }
}

void PackedMatrix::pack_groups(std::int64_t row, const float* source) {
  std::byte* step = panel_at(row);
  for (std::int64_t first = 0; first < k(); first += kGroup, step += step_layout(format()).panel_bytes) {
    const std::int64_t count = std::min(kGroup, k() - first);
    const auto quantize = format() == WeightFormat::kInt8 ? quantize_int8 : quantize_int4;
    put_group(quantize(source + first, count), format(), row % kPanel, step);
  }
}

void PackedMatrix::unpack_row(std::int64_t row, float* out) const {
  const std::byte* const data = panel_at(row);
  const std::int64_t column = row % kPanel;
  if (format() == WeightFormat::kF32) {
    const auto* w = reinterpret_cast<const float*>(data) + column;
    for (std::int64_t i = 0; i < k(); ++i) out[i] = w[i * kPanel];
  } else if (format() == WeightFormat::kBf16) {
    const auto* w = reinterpret_cast<const bf16*>(data) + column * 2;
    for (std::int64_t i = 0; i < k(); ++i) out[i] = to_float(w[i / 2 * 2 * kPanel + i % 2]);
  } else {
    const std::int64_t bytes = step_layout(format()).panel_bytes;
    for (std::int64_t i = 0; i < k(); ++i)
      out[i] = value_of(data + i / kGroup * bytes, format(), column, i % kGroup);
  }
}

std::int64_t PackedMatrix::padded_n() const {
  return whole_units(n(), kPanel);
}

std::int64_t PackedMatrix::padded_k() const {
  return whole_units(k(), k_unit(format()));
}

std::size_t PackedMatrix::bytes() const {
  return packed_bytes(n(), k(), format());
}

const std::byte* PackedMatrix::panel(std::int64_t panel) const {
  return data_.get() + panel * steps() * step_layout(format()).panel_bytes;
}

std::byte* PackedMatrix::panel_at(std::int64_t row) const {
  return data_.get() + row / kPanel * steps() * step_layout(format()).panel_bytes;
}

}  // namespace dslad::kernels
