// A frozen softmax attention block and its gradient by its input:  y = x + W_o attention(rotary(W_qkv
// norm(x))), with biases, norms of q and k, a window or no rotary embedding where the layer has them.
#pragma once

#include "worker/distill/block_context.h"
#include "worker/distill/float_arena.h"
#include "worker/distill/teacher.h"

namespace dslad::worker {

struct SoftmaxTape {
  SoftmaxTape() = default;
  SoftmaxTape(const LlamaConfig& config, std::int64_t rows, FloatArena& arena);

  float* x = nullptr;      // [rows, hidden] the block's input
  float* qkv = nullptr;    // [rows, (heads + 2 * kv_heads) * head_dim], rotated
  float* heads = nullptr;  // [rows, heads * head_dim]
  float* lse = nullptr;    // [rows, heads]
  float* qk = nullptr;     // [rows, (heads + kv_heads) * head_dim] before their norms; null without
};

struct SoftmaxScratch {
  SoftmaxScratch() = default;
  SoftmaxScratch(const LlamaConfig& config, std::int64_t rows, FloatArena& arena);

  float* normed = nullptr;  // [rows, hidden]
  SoftmaxTape tape;         // of a forward pass that wants no gradient; its x is not used
  float* d_heads = nullptr;
  float* d_qkv = nullptr;
  float* d_qk = nullptr;  // by q and k behind their norms; null without
};

struct SoftmaxOutput {
  float* y;  // [rows, hidden] = or += the attention's output
  bool accumulate;
  float* entropy = nullptr;  // [rows, heads] of the attention; null: not wanted
};

// x [rows, hidden]; output.y may be x when it accumulates. tape: null when no gradient is wanted.
void softmax_forward(const BlockContext& context, const TeacherLayer& layer, const float* x,
                     const SoftmaxOutput& output, const SoftmaxScratch& scratch, const SoftmaxTape* tape);

// dx [rows, hidden]: gradient by the block's output, replaced by the gradient by its input.
void softmax_backward(const BlockContext& context, const TeacherLayer& layer, const SoftmaxTape& tape,
                      float* dx, const SoftmaxScratch& scratch);

}  // namespace dslad::worker
