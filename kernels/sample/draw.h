// The random number of a draw: a hash, so that it depends on the request alone.
#pragma once

#include <cstdint>

namespace dslad::kernels {

// splitmix64's finalizer: every input bit changes about half of the output bits.
constexpr std::uint64_t mix_bits(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Uniform in [0, 1), 53 bits.
constexpr double uniform_draw(std::uint64_t seed, std::uint64_t position) {
  return static_cast<double>(mix_bits(mix_bits(seed) + position) >> 11) * 0x1.0p-53;
}

}  // namespace dslad::kernels
