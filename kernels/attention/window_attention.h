// Causal grouped-query attention to the latest tokens alone, over a ring of them per sequence: the exact part
// of a converted layer, beside its two states.
//
//   o_t = sum_{t - window < u <= t} softmax_u(scale * q_t . k_u) v_u              one head; float32
//
// A ring holds the keys and values of a sequence's latest `window` tokens in one layer, float32: keys
// [n_kv, d, window], then values [n_kv, window, d]; token u lies in slot u % window. Keys lie transposed so
// that the scores of one query fill vectors, a slot a lane. A row's result depends on its own query and on
// the tokens of its window alone, bit for bit, whatever the cut into pieces, the batch or the number of
// threads: keys are visited in blocks that begin at multiples of a fixed number of tokens, and every sum runs
// through them in order. Slots of tokens before a row's window, or before the sequence, are never used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dslad::kernels {

class ThreadPool;

struct WindowShape {
  int n_heads;  // query heads, a multiple of n_kv
  int n_kv;
  int head_dim;         // 8..256, even
  std::int64_t window;  // tokens, the row's own one included; >= 1
  [[nodiscard]] std::size_t ring_floats() const {
    return std::size_t{2} * n_kv * static_cast<std::size_t>(window) * head_dim;
  }
};

// Consecutive rows of the step that are consecutive tokens of one sequence.
struct WindowPiece {
  std::int64_t first_row;
  std::int64_t rows;     // any number, more than the ring has slots included
  std::int64_t context;  // tokens of the sequence before this piece; the latest of them are in the ring
  float* ring;           // K [n_kv, d, window], V [n_kv, window, d], in/out; in no other piece of the call
};

struct WindowAttentionArgs {
  WindowShape shape;
  const float* q;  // [R, n_heads, d], row stride q_stride floats; rotary already applied
  std::int64_t q_stride;
  const float* k;  // [R, n_kv, d], row stride kv_stride floats; rotary already applied
  const float* v;  // [R, n_kv, d], row stride kv_stride floats
  std::int64_t kv_stride;
  float* o;  // [R, n_heads, d], row stride o_stride floats; overwritten for the rows of pieces
  std::int64_t o_stride;
  float scale;
  std::span<const WindowPiece> pieces;
};

// Attends, then writes each piece's latest keys and values into its ring.
// REQUIRES: o overlaps nothing else; keys and values are finite.
void window_attention_ref(const WindowAttentionArgs& args);  // in double
void window_attention_cpu(ThreadPool& pool, const WindowAttentionArgs& args);

}  // namespace dslad::kernels
