// What the body of a CUDA kernel may use, on the device and on the host.
//
// Kernels are written once: nvcc makes device code of them, the host's compiler makes code that the lock-step
// executor of tests/kernels/cuda_on_host runs, thread by thread, where there is no GPU. So bodies touch
// nothing of CUDA's but what is declared here, under these names:
//
//   thread_index(), block_index()              where this thread is; blocks are one-dimensional
//   sync_block(), sync_warp()                  barriers, for all threads of the block or warp
//   shuffle(x, lane), shuffle_xor(x, mask)     another lane's x; all 32 lanes take part
//   static_shared<T>()                         the block's memory, uninitialised: one T a type
//   dynamic_shared<T>()                        the same, of Grid::shared_bytes
//   atomic_add(p, x), atomic_max(p, x)         on integers: their sums have no order
//   store16(p, x)                              four floats at once, to a multiple of 16 bytes
//   copy16_later(to, from, wanted)             16 bytes into shared memory (cp.async), or zeros
//   wait_for_copies()                          this thread's are there; others see them behind a barrier
//   pack_bf16(low, high)                       two floats rounded to bf16 in one register
//   mma_16x8x16(c, a, b)                       c += a b, the instruction's own fragments, bf16 to float32
//   load_matrix_transposed(r, row)             four 8 x 8 matrices of bf16 (ldmatrix.trans)
//   DSLAD_UNROLL                               before a loop whose arrays must stay in registers
//
// A kernel is a struct without members:
//   Args             its parameters, copied to the device; pointers are device memory
//   kThreads         threads of a block, a multiple of 32
//   grid(args)       blocks and dynamic shared memory; the host calls it
//   run(args)        the body
// and a queue's launch<Kernel>(args) runs it: Stream (stream.cuh) on a device, the executor on the host.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tensor.h"

namespace dslad::kernels::cuda {

inline constexpr int kWarp = 32;

// Nothing is run where a dimension is 0. REQUIRES: y and z at most 65535.
struct Grid {
  std::int64_t x = 0, y = 1, z = 1;
  std::size_t shared_bytes = 0;  // dynamic shared memory of a block
};

struct BlockIndex {
  std::int64_t x, y, z;
};

}  // namespace dslad::kernels::cuda

#ifdef __CUDACC__
#include "kernels/cuda/device_on_gpu.cuh"
#else
#include "kernels/cuda/device_on_host.h"
#endif
