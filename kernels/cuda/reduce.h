// Sums and largest values of a warp and of a block, the same for all their threads and in an order that the
// number of threads alone decides.
#pragma once

#include "kernels/cuda/device.h"

namespace dslad::kernels::cuda {

DSLAD_DEVICE float larger(float a, float b) {
  return a > b ? a : b;
}

DSLAD_DEVICE float add(float a, float b) {
  return a + b;
}

// Of `kLanes` neighbours.
template <int kLanes = kWarp, class T, class Combine>
DSLAD_DEVICE T warp_reduce(T x, const Combine& combine) {
  for (int mask = kLanes / 2; mask > 0; mask /= 2) x = combine(x, shuffle_xor(x, mask));
  return x;
}

template <int kLanes = kWarp>
DSLAD_DEVICE float warp_sum(float x) {
  return warp_reduce<kLanes>(x, add);
}
template <int kLanes = kWarp>
DSLAD_DEVICE float warp_max(float x) {
  return warp_reduce<kLanes>(x, larger);
}

template <class T, int kWarps>
struct WarpResults {
  T of_warp[kWarps];
};

// Of all threads; warps in their order.
template <int kThreads, class T, class Combine>
DSLAD_DEVICE T block_reduce(T x, const Combine& combine) {
  constexpr int kWarps = kThreads / kWarp;
  auto& results = static_shared<WarpResults<T, kWarps>>();
  x = warp_reduce(x, combine);
  if (thread_index() % kWarp == 0) results.of_warp[thread_index() / kWarp] = x;
  sync_block();
  T all = results.of_warp[0];
  for (int w = 1; w < kWarps; ++w) all = combine(all, results.of_warp[w]);
  sync_block();  // the results may be written anew
  return all;
}

template <int kThreads>
DSLAD_DEVICE float block_sum(float x) {
  return block_reduce<kThreads>(x, add);
}
template <int kThreads>
DSLAD_DEVICE float block_max(float x) {
  return block_reduce<kThreads>(x, larger);
}

}  // namespace dslad::kernels::cuda
