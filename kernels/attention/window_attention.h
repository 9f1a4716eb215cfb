// Causal grouped-query attention to the latest tokens alone, over a ring of them per sequence: the exact part
// of a converted layer, beside its two states.
//
//   o_t = sum_u softmax_u(scale * q_t . k_u) v_u,   t - window < u <= t  or  u < sinks        one head;
//   float32
// The sinks are a sequence's first tokens, to which trained heads give what weight they have to spare:
// without them a window's tokens get that as well (arXiv 2309.17453).
//
// A ring holds the keys and values of the sinks and of a sequence's latest `window` tokens in one layer,
// float32, in slots = sinks + window slots: keys [n_kv, d, slots], then values [n_kv, slots, d]; token u lies
// in slot u if it is a sink, else in sinks + (u - sinks) % window. Keys lie transposed so
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

inline constexpr std::int64_t kMostSinks = 16;

struct WindowShape {
  int n_heads;  // query heads, a multiple of n_kv
  int n_kv;
  int head_dim;            // 8..256, even
  std::int64_t window;     // tokens, the row's own one included; >= 1
  std::int64_t sinks = 0;  // first tokens of a sequence that all of its rows see; <= kMostSinks

  [[nodiscard]] std::int64_t slots() const { return window + sinks; }
  [[nodiscard]] std::int64_t slot_of(std::int64_t token) const {
    return token < sinks ? token : sinks + (token - sinks) % window;
  }
  [[nodiscard]] std::size_t ring_floats() const {
    return std::size_t{2} * n_kv * static_cast<std::size_t>(slots()) * head_dim;
  }
};

// Consecutive rows of the step that are consecutive tokens of one sequence.
struct WindowPiece {
  std::int64_t first_row;
  std::int64_t rows;     // any number, more than the ring has slots included
  std::int64_t context;  // tokens of the sequence before this piece; the latest of them are in the ring
  float* ring;           // K [n_kv, d, slots], V [n_kv, slots, d], in/out; in no other piece of the call
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
