// Element types of the kernels, and the bf16 storage type.
//
// bf16 is storage only: arithmetic happens in float32. Conversion rounds to nearest, ties to even,
// as the hardware does, so that packed weights equal what other frameworks hold.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace dslad::kernels {

enum class DType : std::uint8_t { kF32, kBf16 };

struct bf16 {
  std::uint16_t bits;
};

constexpr std::size_t size_of(DType dtype) {
  return dtype == DType::kF32 ? 4 : 2;
}

constexpr float to_float(bf16 x) {
  return std::bit_cast<float>(std::uint32_t{x.bits} << 16);
}

constexpr bf16 to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((bits >> 16) | 0x40)};  // NaN
  return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16)};
}

}  // namespace dslad::kernels
