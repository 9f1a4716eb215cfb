// Sums and largest values of a warp and of a block, the same for all their threads and in an order that the
// number of threads alone decides.
#pragma once

#include "kernels/cuda/device.h"

namespace dslad::kernels::cuda {

DSLAD_DEVICE float larger(float a, float b) {
  return a > b ? a : b;
}

template <int kLanes = kWarp>  // of `kLanes` neighbours
DSLAD_DEVICE float warp_sum(float x) {
  for (int mask = kLanes / 2; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
  return x;
}

template <int kLanes = kWarp>
DSLAD_DEVICE float warp_max(float x) {
  for (int mask = kLanes / 2; mask > 0; mask /= 2) x = larger(x, shuffle_xor(x, mask));
  return x;
}

template <class T, int kWarps>
struct WarpResults {
  T of_warp[kWarps];
};

// combine(a, b) over one value a warp, in the order of the warps.
template <int kThreads, class T, class Combine>
DSLAD_DEVICE T combine_warps(T of_warp, const Combine& combine) {
  constexpr int kWarps = kThreads / kWarp;
  auto& results = static_shared<WarpResults<T, kWarps>>();
  if (thread_index() % kWarp == 0) results.of_warp[thread_index() / kWarp] = of_warp;
  sync_block();
  T all = results.of_warp[0];
  for (int w = 1; w < kWarps; ++w) all = combine(all, results.of_warp[w]);
  sync_block();  // the results may be written anew
  return all;
}

template <int kThreads>
DSLAD_DEVICE float block_sum(float x) {
  return combine_warps<kThreads>(warp_sum(x), [](float a, float b) { return a + b; });
}

template <int kThreads>
DSLAD_DEVICE float block_max(float x) {
  return combine_warps<kThreads>(warp_max(x), larger);
}

}  // namespace dslad::kernels::cuda
