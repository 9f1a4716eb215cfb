#include "kernels/gemm/tile_kernel.h"

namespace dslad::kernels {

const TileKernels& tile_kernels(DType dtype) {
  static const TileKernels* const bf16_kernels = avx512_bf16_tile_kernels();
  if (dtype == DType::kBf16 && bf16_kernels != nullptr) return *bf16_kernels;
  return portable_tile_kernels(dtype);
}

}  // namespace dslad::kernels
