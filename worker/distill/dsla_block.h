// A block of dual-state linear attention and its gradients:
//   n = norm(x);  q, k, v, z = W_in n;  q, k <- rotary(q, k);  o = norm(DSLA(map(q), map(k), v, z))
//   y = x + W_o o,  or with a window  y = x + W_o (window_attention(q, k, v) + share o)
// with rotary, feature map, output norm and window as the layer's variant says. The window's q and k are
// rotated in any case: where the states' are not, they are a copy, of each head's first head_dim channels.
#pragma once

#include "worker/distill/block_context.h"
#include "worker/distill/float_arena.h"
#include "worker/distill/student_layer.h"

namespace dslad::worker {

struct DslaTape {
  DslaTape() = default;
  DslaTape(const StudentShape& shape, std::int64_t rows, FloatArena& arena);

  float* x = nullptr;          // [rows, hidden] the block's input
  float* normed = nullptr;     // [rows, hidden]
  float* projected = nullptr;  // [rows, input_width]: q, k (rotated where the states' are), v, z
  float* unnormed = nullptr;   // [rows, qk_width]: q, k before their norms, where the model has them
  float* rotated = nullptr;  // [rows, rotated_width]: q, k, v for the window, where only its q, k are rotated
  float* mapped = nullptr;   // [rows, mapped_width]: q, k after the feature map
  float* heads = nullptr;    // [rows, q_width]
  float* scaled = nullptr;   // [rows, q_width] heads after the output norm
  float* window = nullptr;   // [rows, q_width] the window's attention
  float* lse = nullptr;      // [rows, heads] its logarithms of sums
  float* joined = nullptr;   // [rows, q_width] window + share * scaled
};

// Holds one forward pass that wants no gradient, or the gradients of a backward pass.
struct DslaScratch {
  DslaScratch() = default;
  DslaScratch(const StudentShape& shape, std::int64_t rows, FloatArena& arena);

  DslaTape tape;
  float* d_input = nullptr;   // [rows, hidden]
  float* d_scaled = nullptr;  // [rows, q_width]
  float* d_mapped = nullptr;  // [rows, mapped_width]
  float* d_normed = nullptr;  // [rows, qk_width] by q, k behind their norms
  float* d_window = nullptr;  // [rows, q_width + 2 * kv_width] by the window's q, k, v
  float* d_mix = nullptr;     // [2, heads]
  float* unread = nullptr;    // small gradients of a frozen layer
};

// `norm`: the frozen RMSNorm before the block [hidden]. y [rows, hidden] = or += the attention's output; y
// may be x when it accumulates. `tape` may be that of the scratch.
void dsla_forward(const BlockContext& context, const StudentLayer& layer, const float* norm, const float* x,
                  float* y, bool accumulate, const DslaTape& tape);

// Adds the gradients of the layer's parameters for dy [rows, hidden], the gradient by the attention's output.
void dsla_backward_parameters(const BlockContext& context, StudentLayer& layer, const DslaTape& tape,
                              const float* dy, const DslaScratch& scratch);

// dx [rows, hidden]: gradient by the block's output, replaced by the gradient by its input. The layer is
// frozen.
void dsla_backward_input(const BlockContext& context, const StudentLayer& layer, const float* norm,
                         const DslaTape& tape, float* dx, const DslaScratch& scratch);

// Both in one pass: the layer learns, and others below it do, too.
void dsla_backward(const BlockContext& context, StudentLayer& layer, const float* norm, const DslaTape& tape,
                   float* dx, const DslaScratch& scratch);

}  // namespace dslad::worker
