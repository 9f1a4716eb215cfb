// device.h for nvcc and clang: thin names for the device's own.
#pragma once

#include "kernels/cuda/device.h"

#define DSLAD_DEVICE __device__ __forceinline__
#define DSLAD_UNROLL _Pragma("unroll")

namespace dslad::kernels::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

DSLAD_DEVICE int thread_index() {
  return static_cast<int>(threadIdx.x);
}
DSLAD_DEVICE BlockIndex block_index() {
  return {blockIdx.x, blockIdx.y, blockIdx.z};
}
DSLAD_DEVICE void sync_block() {
  __syncthreads();
}
DSLAD_DEVICE void sync_warp() {
  __syncwarp();
}
template <class T>
DSLAD_DEVICE T shuffle(T x, int lane) {
  return __shfl_sync(kAllLanes, x, lane);
}
template <class T>
DSLAD_DEVICE T shuffle_xor(T x, int mask) {
  return __shfl_xor_sync(kAllLanes, x, mask);
}

template <class T>
DSLAD_DEVICE T& static_shared() {
  __shared__ T memory;
  return memory;
}
template <class T>
DSLAD_DEVICE T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char memory[];
  return reinterpret_cast<T*>(memory);
}

DSLAD_DEVICE void atomic_add(std::uint64_t* at, std::uint64_t x) {
  atomicAdd(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(x));
}
DSLAD_DEVICE void atomic_max(std::uint64_t* at, std::uint64_t x) {
  atomicMax(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(x));
}

// By its instruction: of a struct's four floats compilers may make four stores.
DSLAD_DEVICE void store16(float* to, const float (&x)[4]) {
  asm volatile("st.v4.f32 [%0], {%1, %2, %3, %4};"
               :
               : "l"(to), "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3])
               : "memory");
}

// Past the first-level cache and through no register. REQUIRES: both lie at multiples of 16 bytes.
DSLAD_DEVICE void copy16_later(void* to, const void* from, bool wanted) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  const int bytes = wanted ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(address), "l"(from), "r"(bytes)
               : "memory");
}
DSLAD_DEVICE void wait_for_copies() {
  asm volatile("cp.async.wait_all;" : : : "memory");
}

DSLAD_DEVICE std::uint32_t pack_bf16(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

DSLAD_DEVICE void mma_16x8x16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

DSLAD_DEVICE void load_matrix_transposed(std::uint32_t (&r)[4], const bf16* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

}  // namespace dslad::kernels::cuda
