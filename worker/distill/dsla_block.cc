#include "worker/distill/dsla_block.h"

#include <algorithm>
#include <cmath>

namespace dslad::worker {
namespace {

using kernels::DType;
using kernels::FeatureMap;

bool maps(const StudentLayer& layer) {
  return layer.variant().feature_map != FeatureMap::kNone;
}

// q and k, side by side.
void rotate(const BlockContext& context, const StudentLayer& layer, float* qk, std::int64_t stride,
            bool inverse) {
  const LlamaConfig& c = *context.config;
  if (!c.rotates(layer.layer())) return;
  context.backend->rope({qk, stride, context.batch->positions.data(), context.rows(), c.heads + c.kv_heads,
                         context.rope, inverse});
}

// The queries and keys that the states see, or where their gradients go: side by side, rows `stride` apart.
template <class Float>
struct StateInputs {
  Float *q, *k;
  std::int64_t stride;
};

template <class Float>
StateInputs<Float> state_inputs(const StudentLayer& layer, Float* projected, Float* mapped) {
  const StudentShape& s = layer.shape();
  if (!maps(layer)) return {projected, projected + s.keys_column(), s.input_width};
  return {mapped, mapped + s.heads * s.d_k, s.mapped_width};
}

kernels::SequenceDslaArgs dsla_args(const BlockContext& context, const StudentLayer& layer,
                                    const DslaTape& tape) {
  const LlamaConfig& c = *context.config;
  const StudentShape& s = layer.shape();
  const StateInputs<const float> in = state_inputs<const float>(layer, tape.projected, tape.mapped);
  return {{c.heads, c.kv_heads, static_cast<int>(s.d_k), c.head_dim, static_cast<int>(s.states)},
          in.q,
          in.stride,
          in.k,
          in.stride,
          tape.projected + s.values_column(),
          s.input_width,
          tape.projected + s.gates_column(),
          s.input_width,
          layer.values().gate_bias,
          layer.mix(),
          tape.heads,
          s.q_width,
          context.batch->segments};
}

kernels::SequenceDeltaRuleArgs delta_args(const BlockContext& context, const StudentLayer& layer,
                                          const DslaTape& tape) {
  const kernels::SequenceDslaArgs a = dsla_args(context, layer, tape);
  return {a.shape, a.q,        a.q_stride,  a.k, a.k_stride, a.v,       a.v_stride,
          a.z,     a.z_stride, a.gate_bias, a.o, a.o_stride, a.segments};
}

kernels::MatrixOperand operand(const float* w, std::int64_t columns, bool transposed) {
  return {w, DType::kF32, columns, transposed};
}

// The window's exact attention: on rotated q and k, before the feature map.
kernels::SequenceAttentionArgs window_args(const BlockContext& context, const StudentLayer& layer,
                                           const DslaTape& tape) {
  const LlamaConfig& c = *context.config;
  const StudentShape& s = layer.shape();
  const float* const q = s.rotated_width > 0 ? tape.rotated : tape.projected;
  const std::int64_t stride = s.rotated_width > 0 ? s.rotated_width : s.input_width;
  return {c.heads,
          c.kv_heads,
          c.head_dim,
          1.0f / std::sqrt(static_cast<float>(c.head_dim)),
          layer.variant().window,
          q,
          stride,
          q + s.q_width,
          q + s.q_width + s.kv_width,
          stride,
          tape.window,
          s.q_width,
          tape.lse,
          nullptr,
          context.batch->segments,
          layer.variant().sinks};
}

// What W_o reads.
const float* output_heads(const StudentLayer& layer, const DslaTape& tape) {
  if (layer.shape().share > 0) return tape.joined;
  return layer.shape().norm > 0 ? tape.scaled : tape.heads;
}

// Where the gradients of a layer's small parameters go.
struct SmallGradients {
  float* gate_bias;
  float* norm;  // null: frozen
  float* share;
  float *q_norm, *k_norm;  // null: frozen
};

// dy -> gradient by the states' own output, which is returned; with a window also by its q, k, v in d_window.
float* backward_to_states(const BlockContext& context, const StudentLayer& layer, const DslaTape& tape,
                          const float* dy, const DslaScratch& scratch, const SmallGradients& small) {
  const StudentShape& s = layer.shape();
  const LlamaConfig& c = *context.config;
  const std::int64_t rows = context.rows();
  context.product(dy, s.hidden, operand(layer.values().output, s.q_width, false), scratch.d_scaled,
                  s.q_width);
  if (s.share > 0) {
    const std::int64_t stride = s.q_width + 2 * s.kv_width;
    context.backend->attention_backward({window_args(context, layer, tape), scratch.d_scaled,
                                         scratch.d_window, stride, scratch.d_window + s.q_width,
                                         scratch.d_window + s.q_width + s.kv_width, stride});
    const float* states = s.norm > 0 ? tape.scaled : tape.heads;
    context.backend->head_share_backward({states, s.q_width, layer.values().share, scratch.d_scaled,
                                          s.q_width, scratch.d_scaled, s.q_width, small.share, rows, c.heads,
                                          c.head_dim});
  }
  if (s.norm == 0) return scratch.d_scaled;
  float* d_heads = scratch.tape.heads;
  std::fill_n(d_heads, rows * s.q_width, 0.0f);
  context.backend->rms_norm_backward({tape.heads, s.head_dim, layer.values().norm, scratch.d_scaled,
                                      s.head_dim, d_heads, s.head_dim, small.norm, rows * s.heads, s.head_dim,
                                      static_cast<float>(c.rms_norm_eps)});
  return d_heads;
}

// The projections' biases and the norms of q and k.
void finish_projections(const BlockContext& context, const StudentLayer& layer, const DslaTape& tape) {
  const StudentShape& s = layer.shape();
  const StudentTensors& values = layer.values();
  context.add_bias({values.qkv_bias, static_cast<std::size_t>(s.qkv_bias)}, tape.projected, s.input_width);
  if (s.qk_norm == 0) return;
  for (std::int64_t row = 0; row < context.rows(); ++row) {
    std::copy_n(tape.projected + row * s.input_width, s.qk_width, tape.unnormed + row * s.qk_width);
  }
  const auto normalize = [&](std::int64_t first, std::int64_t channels, const float* weight) {
    float* const heads = tape.projected + first;
    context.backend->rms_norm({heads, s.input_width, weight, heads, s.input_width, context.rows(), s.head_dim,
                               static_cast<float>(context.config->rms_norm_eps), channels / s.head_dim});
  };
  normalize(0, s.keys_column(), values.q_norm);
  normalize(s.keys_column(), s.qk_width - s.keys_column(), values.k_norm);
}

// The gradient by q and k behind their norms, in scratch.tape.projected, becomes that before them.
void norm_backward(const BlockContext& context, const StudentLayer& layer, const DslaTape& tape,
                   const DslaScratch& scratch, const SmallGradients& small) {
  const StudentShape& s = layer.shape();
  float* const d_projected = scratch.tape.projected;
  for (std::int64_t row = 0; row < context.rows(); ++row) {
    float* const qk = d_projected + row * s.input_width;
    std::copy_n(qk, s.qk_width, scratch.d_normed + row * s.qk_width);
    std::fill_n(qk, s.qk_width, 0.0f);
  }
  const auto backward = [&](std::int64_t first, std::int64_t channels, const float* weight, float* d_weight) {
    context.backend->rms_norm_backward(
        {tape.unnormed + first, s.qk_width, weight, scratch.d_normed + first, s.qk_width, d_projected + first,
         s.input_width, d_weight, context.rows(), s.head_dim,
         static_cast<float>(context.config->rms_norm_eps), channels / s.head_dim});
  };
  backward(0, s.keys_column(), layer.values().q_norm, small.q_norm);
  backward(s.keys_column(), s.qk_width - s.keys_column(), layer.values().k_norm, small.k_norm);
}

// Rotates q and k in place, or a copy for the window where the states want them as projected.
void rotate_forward(const BlockContext& context, const StudentLayer& layer, const DslaTape& tape) {
  const StudentShape& s = layer.shape();
  if (layer.variant().rotary) rotate(context, layer, tape.projected, s.input_width, false);
  if (s.rotated_width == 0) return;
  for (std::int64_t row = 0; row < context.rows(); ++row) {
    const float* from = tape.projected + row * s.input_width;
    float* to = tape.rotated + row * s.rotated_width;
    for (std::int64_t head = 0; head < s.heads + s.kv_heads; ++head) {
      to = std::copy_n(from + head * s.key_channels, s.head_dim, to);
    }
    std::copy_n(from + s.values_column(), s.kv_width, to);
  }
  rotate(context, layer, tape.rotated, s.rotated_width, false);
}

// Adds the window's part to the gradient by q, k and v.
void add_window(const StudentShape& s, std::int64_t rows, const float* d_window, float* d_projected) {
  const auto add = [](const float* part, std::int64_t n, float* to) {
    for (std::int64_t i = 0; i < n; ++i) to[i] += part[i];
  };
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t head = 0; head < s.heads + s.kv_heads; ++head, d_window += s.head_dim) {
      add(d_window, s.head_dim, d_projected + head * s.key_channels);
    }
    add(d_window, s.kv_width, d_projected + s.values_column());
    d_window += s.kv_width;
    d_projected += s.input_width;
  }
}

// dy -> gradient by q, k (before rotary), v and z, written over scratch.tape.projected.
void backward_to_projections(const BlockContext& context, const StudentLayer& layer, const DslaTape& tape,
                             const float* dy, const DslaScratch& scratch, const SmallGradients& small) {
  const StudentShape& s = layer.shape();
  const LlamaConfig& c = *context.config;
  const std::int64_t rows = context.rows();
  const float* d_heads = backward_to_states(context, layer, tape, dy, scratch, small);
  float* d_projected = scratch.tape.projected;
  const StateInputs<float> d_in = state_inputs(layer, d_projected, scratch.d_mapped);
  std::fill_n(scratch.d_mix, s.states * s.heads, 0.0f);
  float *const d_values = d_projected + s.values_column(), *const d_gates = d_projected + s.gates_column();
  if (layer.variant().delta) {
    context.backend->delta_rule_backward({delta_args(context, layer, tape), d_heads, d_in.q, d_in.stride,
                                          d_in.k, d_in.stride, d_values, s.input_width, d_gates,
                                          s.input_width, small.gate_bias});
  } else {
    context.backend->dsla_backward({dsla_args(context, layer, tape), d_heads, d_in.q, d_in.stride, d_in.k,
                                    d_in.stride, d_values, s.input_width, d_gates, s.input_width,
                                    small.gate_bias, scratch.d_mix});
  }
  if (maps(layer)) {
    context.backend->feature_map_backward({layer.variant().feature_map, tape.projected, s.input_width, d_in.q,
                                           d_in.stride, d_projected, s.input_width, rows,
                                           c.heads + c.kv_heads, static_cast<int>(s.key_channels)});
  }
  if (s.rotated_width > 0) rotate(context, layer, scratch.d_window, s.q_width + 2 * s.kv_width, true);
  if (s.share > 0) add_window(s, rows, scratch.d_window, d_projected);
  if (layer.variant().rotary) rotate(context, layer, d_projected, s.input_width, true);
  if (s.qk_norm > 0) norm_backward(context, layer, tape, scratch, small);
}

// What backward_to_projections left, on to the block's input: dx, which holds the gradient by its output.
void backward_to_input(const BlockContext& context, const StudentLayer& layer, const float* norm,
                       const DslaTape& tape, float* dx, const DslaScratch& scratch) {
  const StudentShape& s = layer.shape();
  context.product(scratch.tape.projected, s.input_width, operand(layer.values().input, s.hidden, false),
                  scratch.d_input, s.hidden);
  context.backend->rms_norm_backward({tape.x, s.hidden, norm, scratch.d_input, s.hidden, dx, s.hidden,
                                      nullptr, context.rows(), s.hidden,
                                      static_cast<float>(context.config->rms_norm_eps)});
}

}  // namespace

DslaTape::DslaTape(const StudentShape& s, std::int64_t rows, FloatArena& arena)
    : x(arena.take(rows * s.hidden)),
      normed(arena.take(rows * s.hidden)),
      projected(arena.take(rows * s.input_width)),
      unnormed(s.qk_norm > 0 ? arena.take(rows * s.qk_width) : nullptr),
      rotated(arena.take(rows * s.rotated_width)),
      mapped(arena.take(rows * s.mapped_width)),
      heads(arena.take(rows * s.q_width)),
      scaled(arena.take(rows * s.q_width)),
      window(arena.take(rows * s.q_width)),
      lse(arena.take(rows * s.heads)),
      joined(arena.take(rows * s.q_width)) {}

DslaScratch::DslaScratch(const StudentShape& s, std::int64_t rows, FloatArena& arena)
    : tape(s, rows, arena),
      d_input(arena.take(rows * s.hidden)),
      d_scaled(arena.take(rows * s.q_width)),
      d_mapped(arena.take(rows * s.mapped_width)),
      d_normed(s.qk_norm > 0 ? arena.take(rows * s.qk_width) : nullptr),
      d_window(arena.take(rows * (s.q_width + 2 * s.kv_width))),
      d_mix(arena.take(s.states * s.heads)),
      unread(arena.take(std::max(s.gate_kinds * s.gate_width, s.heads))) {}

void dsla_forward(const BlockContext& context, const StudentLayer& layer, const float* norm, const float* x,
                  float* y, bool accumulate, const DslaTape& tape) {
  const StudentShape& s = layer.shape();
  const LlamaConfig& c = *context.config;
  const auto eps = static_cast<float>(c.rms_norm_eps);
  const std::int64_t rows = context.rows();
  std::copy_n(x, rows * s.hidden, tape.x);
  context.backend->rms_norm({x, s.hidden, norm, tape.normed, s.hidden, rows, s.hidden, eps});
  context.product(tape.normed, s.hidden, operand(layer.values().input, s.hidden, true), tape.projected,
                  s.input_width);
  finish_projections(context, layer, tape);
  rotate_forward(context, layer, tape);
  if (maps(layer)) {
    context.backend->feature_map({layer.variant().feature_map, tape.projected, s.input_width, tape.mapped,
                                  s.mapped_width, rows, c.heads + c.kv_heads,
                                  static_cast<int>(s.key_channels)});
  }
  if (layer.variant().delta) {
    context.backend->delta_rule(delta_args(context, layer, tape));
  } else {
    context.backend->dsla(dsla_args(context, layer, tape));
  }
  const float* states = tape.heads;
  if (s.norm > 0) {
    context.backend->rms_norm({tape.heads, s.head_dim, layer.values().norm, tape.scaled, s.head_dim,
                               rows * s.heads, s.head_dim, eps});
    states = tape.scaled;
  }
  if (s.share > 0) {
    context.backend->attention(window_args(context, layer, tape));
    std::copy_n(tape.window, rows * s.q_width, tape.joined);
    context.backend->head_share(
        {states, s.q_width, layer.values().share, tape.joined, s.q_width, rows, c.heads, c.head_dim});
  }
  context.product(output_heads(layer, tape), s.q_width, operand(layer.values().output, s.q_width, true), y,
                  s.hidden, accumulate);
  context.add_bias({layer.values().output_bias, static_cast<std::size_t>(s.output_bias)}, y, s.hidden);
}

void dsla_backward_parameters(const BlockContext& context, StudentLayer& layer, const DslaTape& tape,
                              const float* dy, const DslaScratch& scratch) {
  const StudentShape& s = layer.shape();
  const StudentTensors& gradients = layer.gradients();
  const std::int64_t rows = context.rows();
  const auto gradient_product = [&](const float* d_out, std::int64_t n, const float* in, std::int64_t k,
                                    float* dw) {
    context.backend->matmul(
        {n, k, rows, operand(d_out, n, true), operand(in, k, false), dw, k, true, context.compute});
  };
  gradient_product(dy, s.hidden, output_heads(layer, tape), s.q_width, gradients.output);

  backward_to_projections(
      context, layer, tape, dy, scratch,
      {gradients.gate_bias, gradients.norm, gradients.share, gradients.q_norm, gradients.k_norm});
  layer.add_alpha_gradient(scratch.d_mix);
  const float* d_projected = scratch.tape.projected;
  gradient_product(d_projected, s.input_width, tape.normed, s.hidden, gradients.input);
  if (s.qkv_bias > 0) {
    context.backend->bias_backward({d_projected, s.input_width, gradients.qkv_bias, rows, s.qkv_bias});
  }
  if (s.output_bias > 0) {
    context.backend->bias_backward({dy, s.hidden, gradients.output_bias, rows, s.output_bias});
  }
}

void dsla_backward_input(const BlockContext& context, const StudentLayer& layer, const float* norm,
                         const DslaTape& tape, float* dx, const DslaScratch& scratch) {
  backward_to_projections(context, layer, tape, dx, scratch,
                          {scratch.unread, nullptr, scratch.unread, nullptr, nullptr});
  backward_to_input(context, layer, norm, tape, dx, scratch);
}

void dsla_backward(const BlockContext& context, StudentLayer& layer, const float* norm, const DslaTape& tape,
                   float* dx, const DslaScratch& scratch) {
  dsla_backward_parameters(context, layer, tape, dx, scratch);
  backward_to_input(context, layer, norm, tape, dx, scratch);
}

}  // namespace dslad::worker
