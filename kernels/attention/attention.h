// Causal grouped-query attention over a paged KV cache.
//
//   o_t = sum_{u <= t} softmax_u(scale * q_t . k_u) v_u        one head; float32 accumulation, online softmax
// With a window only the latest `window` tokens count, the own one included: t - u < window.
//
// A page holds kPageTokens tokens of ONE layer: K [n_kv, d, kPageTokens] (transposed, so that scores need no
// horizontal sums) then V [n_kv, kPageTokens, d], f32 or bf16. A backend may want bf16 in pairs, as products
// of bf16 tiles take them: K [n_kv, d / 2, kPageTokens, 2], V [n_kv, kPageTokens / 2, d, 2]. Token u lies in
// page pages[u / kPageTokens], slot u % kPageTokens. Pages may be shared by sequences (a document read by
// many questions); only the sequence that appends writes. A query's result depends on its own row and its
// sequence's tokens alone, bit for bit: keys are visited in fixed partitions of kPartitionTokens, merged in
// order, whatever the batch or the number of threads, and whatever the piece but for pairs: there a piece
// with fewer than 8 query rows a KV head is worked out otherwise, to the same accuracy. Slots beyond a
// sequence's last token are never used, whatever they hold.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/tensor.h"

namespace dslad::kernels {

class ThreadPool;

inline constexpr std::int64_t kPageTokens = 64;
inline constexpr std::int64_t kPartitionTokens = 512;

struct KvLayout {
  DType dtype;
  int n_kv;            // KV heads
  int head_dim;        // 8..256, even
  bool pairs = false;  // of bf16; head_dim is even
  [[nodiscard]] std::size_t page_bytes() const {
    return 2 * static_cast<std::size_t>(n_kv) * kPageTokens * head_dim * size_of(dtype);
  }
  // Offsets within a page, in elements.
  [[nodiscard]] std::int64_t k_offset(int head, std::int64_t slot, int channel) const {
    const std::int64_t row = std::int64_t{head} * head_dim + channel;
    return pairs ? (row / 2 * kPageTokens + slot) * 2 + row % 2 : row * kPageTokens + slot;
  }
  [[nodiscard]] std::int64_t v_offset(int head, std::int64_t slot, int channel) const {
    const std::int64_t row = (std::int64_t{n_kv} + head) * kPageTokens + slot;
    return pairs ? (row / 2 * head_dim + channel) * 2 + row % 2 : row * head_dim + channel;
  }
};

// Consecutive rows of the step that are consecutive tokens of one sequence. The next tokens of the sequence
// may be another piece of the same call: all pieces write before any attends.
struct AttentionPiece {
  std::int64_t first_row;
  std::int64_t rows;          // 1 for a decode token
  std::int64_t context;       // tokens of the sequence before this piece, in the cache or in earlier pieces
  const std::int32_t* pages;  // page numbers, ceil((context + rows) / kPageTokens) of them
  std::int64_t silent = 0;    // first rows that only leave their keys and values: no row of o is theirs
};

struct AttentionArgs {
  const float* q;  // [R, n_heads, d], row stride q_stride floats; rotary already applied
  std::int64_t q_stride;
  const float* k;  // [R, n_kv, d], row stride kv_stride floats; rotary already applied
  const float* v;  // [R, n_kv, d], row stride kv_stride floats
  std::int64_t kv_stride;
  float* o;  // [R, n_heads, d], row stride o_stride floats; overwritten where a row is not silent
  std::int64_t o_stride;
  int n_heads;  // a multiple of layout.n_kv
  float scale;
  void* pool;  // base address of the page pool; page p starts at p * page_bytes()
  KvLayout layout;
  std::span<const AttentionPiece> pieces;
  std::int64_t window = 0;  // tokens that a query sees; 0: all
};

// The layout with its pairs as attention_cpu is fastest with on this machine: where there is AMX.
KvLayout layout_for_attention_cpu(KvLayout layout);

// Writes k and v of every piece's rows into its pages, rounded to layout.dtype, then attends. k and v are
// read before o is written. The probabilities use the rounded keys and values, so a token sees what a later
// one will see. attention_cpu REQUIRES: the layout has pairs only where layout_for_attention_cpu gives them.
void attention_ref(const AttentionArgs& args);
void attention_cpu(ThreadPool& pool, const AttentionArgs& args);

}  // namespace dslad::kernels
