// A frozen feed-forward block and its gradient by its input:  y = x + W_down (silu(W_gate n) * W_up n),  n =
// norm(x).
#pragma once

#include "worker/distill/block_context.h"
#include "worker/distill/float_arena.h"
#include "worker/distill/teacher.h"

namespace dslad::worker {

// What the forward pass leaves for the backward pass.
struct MlpTape {
  MlpTape() = default;
  MlpTape(const LlamaConfig& config, std::int64_t rows, FloatArena& arena);

  float* x = nullptr;        // [rows, hidden] the block's input
  float* gate_up = nullptr;  // [rows, 2 * intermediate]
};

struct MlpScratch {
  MlpScratch() = default;
  MlpScratch(const LlamaConfig& config, std::int64_t rows, FloatArena& arena);

  float* normed = nullptr;   // [rows, hidden]
  float* gate_up = nullptr;  // [rows, 2 * intermediate]
  float* wide = nullptr;     // [rows, intermediate]
};

// x [rows, hidden] in place. tape: null when no gradient is wanted.
void mlp_forward(const BlockContext& context, const TeacherLayer& layer, float* x, const MlpScratch& scratch,
                 const MlpTape* tape);

// dx [rows, hidden]: gradient by the output, replaced by the gradient by the input.
void mlp_backward(const BlockContext& context, const TeacherLayer& layer, const MlpTape& tape, float* dx,
                  const MlpScratch& scratch);

}  // namespace dslad::worker
