// AMX: products of bf16 tiles of 16 x 32 in one instruction of x86-64.
#pragma once

#include <cstdint>

namespace dslad::kernels {

// What LDTILECFG reads: the shapes of the eight tile registers, 16 rows of 64 bytes where nobody says less.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

// Whether this process may use AMX for bf16, with AVX-512 and its bf16 conversions beside it. Linux gives a
// process the registers on request; the first call makes it. Thread-safe.
bool may_use_amx();

}  // namespace dslad::kernels
