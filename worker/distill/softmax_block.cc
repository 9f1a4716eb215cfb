#include "worker/distill/softmax_block.h"

#include <algorithm>
#include <cmath>

namespace dslad::worker {
namespace {

struct Widths {
  explicit Widths(const LlamaConfig& c)
      : hidden(c.hidden_size),
        q(std::int64_t{c.heads} * c.head_dim),
        kv(std::int64_t{c.kv_heads} * c.head_dim),
        qkv(q + 2 * kv) {}
  std::int64_t hidden, q, kv, qkv;
};

kernels::SequenceAttentionArgs attention_args(const BlockContext& context, const TeacherLayer& layer,
                                              const SoftmaxTape& tape, float* entropy) {
  const LlamaConfig& c = *context.config;
  const Widths w(c);
  return {c.heads,
          c.kv_heads,
          c.head_dim,
          1.0f / std::sqrt(static_cast<float>(c.head_dim)),
          layer.window,
          tape.qkv,
          w.qkv,
          tape.qkv + w.q,
          tape.qkv + w.q + w.kv,
          w.qkv,
          tape.heads,
          w.q,
          tape.lse,
          entropy,
          context.batch->segments};
}

void rotate(const BlockContext& context, const TeacherLayer& layer, float* qkv, bool inverse) {
  const LlamaConfig& c = *context.config;
  if (!layer.rotary) return;
  // q and k lie side by side: one call turns the heads of both.
  context.backend->rope({qkv, Widths(c).qkv, context.batch->positions.data(), context.rows(),
                         c.heads + c.kv_heads, context.rope, inverse});
}

float* take_qk(const LlamaConfig& config, std::int64_t rows, FloatArena& arena) {
  return config.qk_norm ? arena.take(rows * (Widths(config).q + Widths(config).kv)) : nullptr;
}

// The first `width` floats of each row, rows `stride` apart, side by side.
void copy_columns(const float* from, std::int64_t stride, std::int64_t width, std::int64_t rows, float* to) {
  for (std::int64_t row = 0; row < rows; ++row) to = std::copy_n(from + row * stride, width, to);
}

// q and k by heads, in place.
void normalize_qk(const BlockContext& context, const TeacherLayer& layer, float* qkv) {
  const LlamaConfig& c = *context.config;
  const Widths w(c);
  const auto normalize = [&](float* heads, std::int64_t count, const std::vector<float>& weight) {
    context.backend->rms_norm({heads, w.qkv, weight.data(), heads, w.qkv, context.rows(), c.head_dim,
                               static_cast<float>(c.rms_norm_eps), count});
  };
  normalize(qkv, c.heads, layer.q_norm);
  normalize(qkv + w.q, c.kv_heads, layer.k_norm);
}

// scratch.d_qkv: the gradient by q and k behind their norms, replaced by that before them.
void norm_backward(const BlockContext& context, const TeacherLayer& layer, const SoftmaxTape& tape,
                   const SoftmaxScratch& scratch) {
  const LlamaConfig& c = *context.config;
  const Widths w(c);
  const std::int64_t qk = w.q + w.kv;
  copy_columns(scratch.d_qkv, w.qkv, qk, context.rows(), scratch.d_qk);
  for (std::int64_t row = 0; row < context.rows(); ++row) std::fill_n(scratch.d_qkv + row * w.qkv, qk, 0.0f);
  const auto backward = [&](std::int64_t first, std::int64_t count, const std::vector<float>& weight) {
    context.backend->rms_norm_backward({tape.qk + first, qk, weight.data(), scratch.d_qk + first, qk,
                                        scratch.d_qkv + first, w.qkv, nullptr, context.rows(), c.head_dim,
                                        static_cast<float>(c.rms_norm_eps), count});
  };
  backward(0, c.heads, layer.q_norm);
  backward(w.q, c.kv_heads, layer.k_norm);
}

}  // namespace

SoftmaxTape::SoftmaxTape(const LlamaConfig& config, std::int64_t rows, FloatArena& arena)
    : x(arena.take(rows * config.hidden_size)),
      qkv(arena.take(rows * Widths(config).qkv)),
      heads(arena.take(rows * Widths(config).q)),
      lse(arena.take(rows * config.heads)),
      qk(take_qk(config, rows, arena)) {}

SoftmaxScratch::SoftmaxScratch(const LlamaConfig& config, std::int64_t rows, FloatArena& arena)
    : normed(arena.take(rows * config.hidden_size)),
      d_heads(arena.take(rows * Widths(config).q)),
      d_qkv(arena.take(rows * Widths(config).qkv)),
      d_qk(take_qk(config, rows, arena)) {
  // A step either goes on without a tape or back with one: the same memory serves both.
  tape.qkv = d_qkv;
  tape.heads = d_heads;
  tape.lse = arena.take(rows * config.heads);
}

void softmax_forward(const BlockContext& context, const TeacherLayer& layer, const float* x,
                     const SoftmaxOutput& output, const SoftmaxScratch& scratch, const SoftmaxTape* tape) {
  const Widths w(*context.config);
  if (tape != nullptr) std::copy_n(x, context.rows() * w.hidden, tape->x);
  const SoftmaxTape& kept = tape != nullptr ? *tape : scratch.tape;
  context.backend->rms_norm({x, w.hidden, layer.attention_norm.data(), scratch.normed, w.hidden,
                             context.rows(), w.hidden, static_cast<float>(context.config->rms_norm_eps)});
  context.product(scratch.normed, w.hidden, layer.qkv.transposed(), kept.qkv, w.qkv);
  context.add_bias(layer.qkv_bias, kept.qkv, w.qkv);
  if (!layer.q_norm.empty()) {
    if (kept.qk != nullptr) copy_columns(kept.qkv, w.qkv, w.q + w.kv, context.rows(), kept.qk);
    normalize_qk(context, layer, kept.qkv);
  }
  rotate(context, layer, kept.qkv, false);
  context.backend->attention(attention_args(context, layer, kept, output.entropy));
  context.product(kept.heads, w.q, layer.output.transposed(), output.y, w.hidden, output.accumulate);
  context.add_bias(layer.output_bias, output.y, w.hidden);
}

void softmax_backward(const BlockContext& context, const TeacherLayer& layer, const SoftmaxTape& tape,
                      float* dx, const SoftmaxScratch& scratch) {
  const Widths w(*context.config);
  context.product(dx, w.hidden, layer.output.operand(), scratch.d_heads, w.q);
  context.backend->attention_backward({attention_args(context, layer, tape, nullptr), scratch.d_heads,
                                       scratch.d_qkv, w.qkv, scratch.d_qkv + w.q, scratch.d_qkv + w.q + w.kv,
                                       w.qkv});
  rotate(context, layer, scratch.d_qkv, true);
  if (!layer.q_norm.empty()) norm_backward(context, layer, tape, scratch);
  context.product(scratch.d_qkv, w.qkv, layer.qkv.operand(), scratch.normed, w.hidden);
  context.backend->rms_norm_backward({tape.x, w.hidden, layer.attention_norm.data(), scratch.normed, w.hidden,
                                      dx, w.hidden, nullptr, context.rows(), w.hidden,
                                      static_cast<float>(context.config->rms_norm_eps)});
}

}  // namespace dslad::worker
