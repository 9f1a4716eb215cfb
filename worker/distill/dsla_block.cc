#include "worker/distill/dsla_block.h"

#include <algorithm>

namespace dslad::worker {
namespace {

using kernels::DType;
using kernels::FeatureMap;

bool maps(const StudentLayer& layer) {
  return layer.variant().feature_map != FeatureMap::kNone;
}

void rotate(const BlockContext& context, const StudentLayer& layer, float* qk, std::int64_t stride,
            bool inverse) {
  if (!layer.variant().rotary) return;
  const LlamaConfig& c = *context.config;
  context.backend->rope({qk, stride, context.batch->positions.data(), context.rows(), c.heads + c.kv_heads,
                         context.rope, inverse});
}

kernels::SequenceDslaArgs dsla_args(const BlockContext& context, const StudentLayer& layer,
                                    const DslaTape& tape) {
  const LlamaConfig& c = *context.config;
  const StudentShape& s = layer.shape();
  const bool mapped = maps(layer);
  const float* q = mapped ? tape.mapped : tape.projected;
  const std::int64_t stride = mapped ? s.q_width + s.kv_width : s.input_width;
  return {{c.heads, c.kv_heads, c.head_dim, c.head_dim},
          q,
          stride,
          q + s.q_width,
          stride,
          tape.projected + s.q_width + s.kv_width,
          s.input_width,
          tape.projected + s.gates_column(),
          s.input_width,
          layer.values().gate_bias,
          layer.mix(),
          tape.heads,
          s.q_width,
          context.batch->segments};
}

kernels::MatrixOperand operand(const float* w, std::int64_t columns, bool transposed) {
  return {w, DType::kF32, columns, transposed};
}

// dy -> gradient by q, k, v, z before rotary, written over scratch.tape.projected; bias and mix gradients
// into the places given.
void backward_to_projections(const BlockContext& context, const StudentLayer& layer, const DslaTape& tape,
                             const float* dy, const DslaScratch& scratch, float* d_norm, float* d_gate_bias) {
  const StudentShape& s = layer.shape();
  const LlamaConfig& c = *context.config;
  const std::int64_t rows = context.rows();
  context.product(dy, s.hidden, operand(layer.values().output, s.q_width, false), scratch.d_scaled,
                  s.q_width);
  float* d_heads = scratch.d_scaled;
  if (s.norm > 0) {
    d_heads = scratch.tape.heads;
    std::fill_n(d_heads, rows * s.q_width, 0.0f);
    context.backend->rms_norm_backward({tape.heads, s.head_dim, layer.values().norm, scratch.d_scaled,
                                        s.head_dim, d_heads, s.head_dim, d_norm, rows * s.heads, s.head_dim,
                                        static_cast<float>(c.rms_norm_eps)});
  }
  float* d_projected = scratch.tape.projected;
  const bool mapped = maps(layer);
  float* dq = mapped ? scratch.d_mapped : d_projected;
  const std::int64_t stride = mapped ? s.q_width + s.kv_width : s.input_width;
  std::fill_n(scratch.d_mix, 2 * s.heads, 0.0f);
  context.backend->dsla_backward({dsla_args(context, layer, tape), d_heads, dq, stride, dq + s.q_width,
                                  stride, d_projected + s.q_width + s.kv_width, s.input_width,
                                  d_projected + s.gates_column(), s.input_width, d_gate_bias, scratch.d_mix});
  if (mapped) {
    context.backend->feature_map_backward({layer.variant().feature_map, tape.projected, s.input_width, dq,
                                           stride, d_projected, s.input_width, rows, c.heads + c.kv_heads,
                                           c.head_dim});
  }
}

}  // namespace

DslaTape::DslaTape(const StudentShape& s, std::int64_t rows, FloatArena& arena)
    : x(arena.take(rows * s.hidden)),
      normed(arena.take(rows * s.hidden)),
      projected(arena.take(rows * s.input_width)),
      mapped(arena.take(rows * (s.q_width + s.kv_width))),
      heads(arena.take(rows * s.q_width)),
      scaled(arena.take(rows * s.q_width)) {}

DslaScratch::DslaScratch(const StudentShape& s, std::int64_t rows, FloatArena& arena)
    : tape(s, rows, arena),
      d_input(arena.take(rows * s.hidden)),
      d_scaled(arena.take(rows * s.q_width)),
      d_mapped(arena.take(rows * (s.q_width + s.kv_width))),
      d_mix(arena.take(2 * s.heads)),
      unread(arena.take(2 * s.kv_width)) {}

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
  rotate(context, layer, tape.projected, s.input_width, false);
  if (maps(layer)) {
    context.backend->feature_map({layer.variant().feature_map, tape.projected, s.input_width, tape.mapped,
                                  s.q_width + s.kv_width, rows, c.heads + c.kv_heads, c.head_dim});
  }
  context.backend->dsla(dsla_args(context, layer, tape));
  const float* heads = tape.heads;
  if (s.norm > 0) {
    context.backend->rms_norm({tape.heads, s.head_dim, layer.values().norm, tape.scaled, s.head_dim,
                               rows * s.heads, s.head_dim, eps});
    heads = tape.scaled;
  }
  context.product(heads, s.q_width, operand(layer.values().output, s.q_width, true), y, s.hidden, accumulate);
}

void dsla_backward_parameters(const BlockContext& context, StudentLayer& layer, const DslaTape& tape,
                              const float* dy, const DslaScratch& scratch, GateDiversity* diversity) {
  const StudentShape& s = layer.shape();
  const StudentTensors& gradients = layer.gradients();
  const std::int64_t rows = context.rows();
  const auto gradient_product = [&](const float* d_out, std::int64_t n, const float* in, std::int64_t k,
                                    float* dw) {
    context.backend->matmul(
        {n, k, rows, operand(d_out, n, true), operand(in, k, false), dw, k, true, context.compute});
  };
  gradient_product(dy, s.hidden, s.norm > 0 ? tape.scaled : tape.heads, s.q_width, gradients.output);

  backward_to_projections(context, layer, tape, dy, scratch, gradients.norm, gradients.gate_bias);
  layer.add_alpha_gradient(scratch.d_mix);
  float* d_projected = scratch.tape.projected;
  if (diversity != nullptr) {
    diversity->mean_cosine = context.backend->gate_diversity(
        {tape.projected + s.gates_column(), s.input_width, layer.values().gate_bias, rows,
         static_cast<int>(s.kv_heads), static_cast<int>(s.head_dim), diversity->scale,
         d_projected + s.gates_column(), s.input_width, gradients.gate_bias});
  }
  rotate(context, layer, d_projected, s.input_width, true);
  gradient_product(d_projected, s.input_width, tape.normed, s.hidden, gradients.input);
}

void dsla_backward_input(const BlockContext& context, const StudentLayer& layer, const float* norm,
                         const DslaTape& tape, float* dx, const DslaScratch& scratch) {
  const StudentShape& s = layer.shape();
  backward_to_projections(context, layer, tape, dx, scratch, nullptr, scratch.unread);
  float* d_projected = scratch.tape.projected;
  rotate(context, layer, d_projected, s.input_width, true);
  context.product(d_projected, s.input_width, operand(layer.values().input, s.hidden, false), scratch.d_input,
                  s.hidden);
  context.backend->rms_norm_backward({tape.x, s.hidden, norm, scratch.d_input, s.hidden, dx, s.hidden,
                                      nullptr, context.rows(), s.hidden,
                                      static_cast<float>(context.config->rms_norm_eps)});
}

}  // namespace dslad::worker
