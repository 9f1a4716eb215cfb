#include "kernels/gemm/tile_kernel.h"

namespace dslad::kernels {

const TileKernels& tile_kernels(WeightFormat format) {
  static const TileKernels* const bf16_kernels =
      amx_bf16_tile_kernels() != nullptr ? amx_bf16_tile_kernels() : avx512_bf16_tile_kernels();
  if (format == WeightFormat::kBf16 && bf16_kernels != nullptr) return *bf16_kernels;
  if (!is_quantized(format)) return portable_tile_kernels(format);
  const TileKernels* const vnni_kernels = avx512_vnni_tile_kernels(format);
  return vnni_kernels != nullptr ? *vnni_kernels : portable_group_kernels(format);
}

}  // namespace dslad::kernels
