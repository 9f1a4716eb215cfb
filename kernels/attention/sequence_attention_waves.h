// The order in which the backward pass visits the pairs of query chunks and key chunks.
//
// A pair adds to dq of its queries and to dk, dv of its keys, so two pairs that share a chunk must not run at
// once. Waves hold pairs that share nothing and follow each other in a fixed order: all threads have work,
// each gradient is summed up in one order whoever runs what, and no partial sums need memory. Finding waves
// is colouring the edges of the graph between query chunks and key chunks; greedily, from the diagonal of a
// lone sequence it finds the diagonals. A family of segments has the same order whatever else is packed.
// Internal to kernels/attention.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention/sequence_attention_run.h"

namespace dslad::kernels {

struct ChunkPair {
  TokenRun queries, keys;
};

// All pairs in which a query sees a key.
std::vector<std::vector<ChunkPair>> find_waves(std::span<const Segment> segments, const Reach& reach);

}  // namespace dslad::kernels
