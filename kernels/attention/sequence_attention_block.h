// The units of sequence attention's work on the CPU, each for one thread. Internal to kernels/attention.
//
// Scores lie transposed, [keys, queries]: a vector holds one key's scores for consecutive queries of one
// head, so that the softmax needs no horizontal sum, and only the queries are packed for the products. Thread
// safety: functions of their arguments; gradients are added to memory that the caller keeps to one thread at
// a time.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/attention/sequence_attention.h"
#include "kernels/attention/sequence_attention_run.h"

namespace dslad::kernels {

inline constexpr std::int64_t kBlockQueries = 64;

// Floats of workspace that either function needs for heads of d channels; 64-byte aligned.
std::int64_t attention_block_workspace(int d);

// o, lse and entropy of `queries` for one query head; `keys` are the runs that they may see, oldest first.
// REQUIRES: queries.rows <= kBlockQueries; every query sees a key.
void attend_block(const SequenceAttentionArgs& args, int head, const TokenRun& queries,
                  std::span<const TokenRun> keys, float* workspace);

// Adds what the pairs of `queries` and `keys` contribute to dq, dk and dv of one KV head.
void differentiate_block(const SequenceAttentionBackwardArgs& args, int kv_head, const TokenRun& queries,
                         const TokenRun& keys, float* workspace);

}  // namespace dslad::kernels
