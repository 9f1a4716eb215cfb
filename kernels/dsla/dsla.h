// Dual-state linear attention (arXiv 2506.09316, section 3): prefill pieces and decode steps, grouped
// queries.
//
//   log a_i,t = max(logsigmoid(z_i,t + c_i) / kGateTemperature, kMinLogGate)    i = 0 history, 1 recency
//   S_i,t     = diag(a_i,t) S_i,t-1 + k_t v_t^T                                 [d_k, d_v] per KV head
//   o_t       = d_k^-1/2 * sum_i mix_i * q_t^T S_i,t                             mix per query head
//
// A shape may have the history's state alone: then i = 0, and mix is 1.
//
// Log-gates, their cumulative sums and the states are float32: in bf16 the history state is lost within a few
// thousand tokens. A piece of more than one row uses the chunk form (arXiv 2312.06635 for one state), one row
// the recurrence; any cut of a sequence into pieces gives the same output and state within float32 rounding.
// A piece longer than kPieceRows is worked through in parts of so many rows, the last one shorter: bit
// for bit as if each were a piece of a later call (but for the reference, which rounds the state once a
// piece). A piece's results do not depend on other pieces or on the number of threads, bit for bit.
#pragma once

#include <cstdint>
#include <span>

namespace dslad::kernels {

class ThreadPool;

inline constexpr float kGateTemperature = 16.0f;
inline constexpr float kMinLogGate = -50.0f;
inline constexpr std::int64_t kDslaChunk = 64;     // of the gradient, which keeps states at such distances
inline constexpr std::int64_t kDslaSubBlock = 16;  // of a chunk, and the chunk of the forward pass by vectors

struct DslaShape {
  int n_heads;  // query heads, a multiple of n_kv
  int n_kv;     // heads of keys, values, gates and states
  int d_k, d_v;
  int states = 2;  // of a KV head: history and recency, or history alone
  // Of a KV head's states side by side.
  [[nodiscard]] std::int64_t channels() const { return std::int64_t{states} * d_k; }
  [[nodiscard]] std::size_t state_floats() const {
    return static_cast<std::size_t>(channels()) * static_cast<std::size_t>(n_kv) *
           static_cast<std::size_t>(d_v);
  }
};

// Consecutive rows of the step that are consecutive tokens of one sequence.
struct DslaPiece {
  std::int64_t first_row;
  std::int64_t rows;
  float* state;  // [states, n_kv, d_k, d_v], in/out; one sequence's slot, in no other piece of the call
};

struct DslaArgs {
  DslaShape shape;
  const float* q;  // [R, n_heads, d_k], row stride q_stride floats
  std::int64_t q_stride;
  const float* k;  // [R, n_kv, d_k], row stride k_stride
  std::int64_t k_stride;
  const float* v;  // [R, n_kv, d_v], row stride v_stride
  std::int64_t v_stride;
  const float* z;  // gate logits without bias [R, states, n_kv, d_k], row stride z_stride
  std::int64_t z_stride;
  const float* gate_bias;  // c [states, n_kv, d_k]
  const float* mix;        // softmax(alpha) [states, n_heads]: >= 0, those of a head sum to 1
  float* o;                // [R, n_heads, d_v], row stride o_stride; overwritten for the rows of pieces
  std::int64_t o_stride;
  std::span<const DslaPiece> pieces;
};

// The recurrence in double, token by token.
void dsla_ref(const DslaArgs& args);
void dsla_cpu(ThreadPool& pool, const DslaArgs& args);

}  // namespace dslad::kernels
