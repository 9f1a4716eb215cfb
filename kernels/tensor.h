// Element types of the kernels, and the 16-bit storage types.
//
// bf16 and f16 are storage only: arithmetic happens in float32. Conversion rounds to nearest, ties to even,
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

struct f16 {
  std::uint16_t bits;
};

constexpr float to_float(f16 x) {
  const std::uint32_t sign = std::uint32_t{x.bits & 0x8000u} << 16, magnitude = x.bits & 0x7fffu;
  if (magnitude >= 0x7c00u)  // infinity, NaN
    return std::bit_cast<float>(sign | 0x7f800000u | (magnitude & 0x03ffu) << 13);
  if (magnitude < 0x0400u) {  // subnormal: so many 2^-24
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
}

constexpr f16 to_f16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const auto with_sign = [&](std::uint32_t half) { return f16{static_cast<std::uint16_t>(sign | half)}; };
  if (magnitude > 0x7f800000u) return with_sign(0x7e00u | ((magnitude >> 13) & 0x03ffu));  // NaN
  if (magnitude >= 0x477ff000u) return with_sign(0x7c00u);                                 // beyond 65,504
  if (magnitude < 0x38800000u) {  // subnormal: adding 0.5 leaves multiples of 2^-24 in the lowest bits
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return with_sign(std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u);
  }
  return with_sign((magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1)) >> 13);
}

}  // namespace dslad::kernels
