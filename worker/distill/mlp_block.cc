#include "worker/distill/mlp_block.h"

#include <algorithm>

namespace dslad::worker {

MlpTape::MlpTape(const LlamaConfig& config, std::int64_t rows, FloatArena& arena)
    : x(arena.take(rows * config.hidden_size)), gate_up(arena.take(rows * 2 * config.intermediate_size)) {}

MlpScratch::MlpScratch(const LlamaConfig& config, std::int64_t rows, FloatArena& arena)
    : normed(arena.take(rows * config.hidden_size)),
      gate_up(arena.take(rows * 2 * config.intermediate_size)),
      wide(arena.take(rows * config.intermediate_size)) {}

void mlp_forward(const BlockContext& context, const TeacherLayer& layer, float* x, const MlpScratch& scratch,
                 const MlpTape* tape) {
  const std::int64_t hidden = context.config->hidden_size, width = context.config->intermediate_size;
  const auto eps = static_cast<float>(context.config->rms_norm_eps);
  if (tape != nullptr) std::copy_n(x, context.rows() * hidden, tape->x);
  float* gate_up = tape != nullptr ? tape->gate_up : scratch.gate_up;
  context.backend->rms_norm(
      {x, hidden, layer.mlp_norm.data(), scratch.normed, hidden, context.rows(), hidden, eps});
  context.product(scratch.normed, hidden, layer.gate_up.transposed(), gate_up, 2 * width);
  context.add_bias(layer.gate_up_bias, gate_up, 2 * width);
  context.backend->swiglu({gate_up, 2 * width, scratch.wide, width, context.rows(), width});
  context.product(scratch.wide, width, layer.down.transposed(), x, hidden, true);
  context.add_bias(layer.down_bias, x, hidden);
}

void mlp_backward(const BlockContext& context, const TeacherLayer& layer, const MlpTape& tape, float* dx,
                  const MlpScratch& scratch) {
  const std::int64_t hidden = context.config->hidden_size, width = context.config->intermediate_size;
  context.product(dx, hidden, layer.down.operand(), scratch.wide, width);
  context.backend->swiglu_backward(
      {tape.gate_up, 2 * width, scratch.wide, width, scratch.gate_up, 2 * width, context.rows(), width});
  context.product(scratch.gate_up, 2 * width, layer.gate_up.operand(), scratch.normed, hidden);
  context.backend->rms_norm_backward({tape.x, hidden, layer.mlp_norm.data(), scratch.normed, hidden, dx,
                                      hidden, nullptr, context.rows(), hidden,
                                      static_cast<float>(context.config->rms_norm_eps)});
}

}  // namespace dslad::worker
