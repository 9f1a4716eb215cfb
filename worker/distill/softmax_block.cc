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

kernels::SequenceAttentionArgs attention_args(const BlockContext& context, const SoftmaxTape& tape,
                                              float* entropy) {
  const LlamaConfig& c = *context.config;
  const Widths w(c);
  return {c.heads,
          c.kv_heads,
          c.head_dim,
          1.0f / std::sqrt(static_cast<float>(c.head_dim)),
          0,
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

void rotate(const BlockContext& context, float* qkv, bool inverse) {
  const LlamaConfig& c = *context.config;
  // q and k lie side by side: one call turns the heads of both.
  context.backend->rope({qkv, Widths(c).qkv, context.batch->positions.data(), context.rows(),
                         c.heads + c.kv_heads, context.rope, inverse});
}

}  // namespace

SoftmaxTape::SoftmaxTape(const LlamaConfig& config, std::int64_t rows, FloatArena& arena)
    : x(arena.take(rows * config.hidden_size)),
      qkv(arena.take(rows * Widths(config).qkv)),
      heads(arena.take(rows * Widths(config).q)),
      lse(arena.take(rows * config.heads)) {}

SoftmaxScratch::SoftmaxScratch(const LlamaConfig& config, std::int64_t rows, FloatArena& arena)
    : normed(arena.take(rows * config.hidden_size)),
      d_heads(arena.take(rows * Widths(config).q)),
      d_qkv(arena.take(rows * Widths(config).qkv)) {
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
  rotate(context, kept.qkv, false);
  context.backend->attention(attention_args(context, kept, output.entropy));
  context.product(kept.heads, w.q, layer.output.transposed(), output.y, w.hidden, output.accumulate);
}

void softmax_backward(const BlockContext& context, const TeacherLayer& layer, const SoftmaxTape& tape,
                      float* dx, const SoftmaxScratch& scratch) {
  const Widths w(*context.config);
  context.product(dx, w.hidden, layer.output.operand(), scratch.d_heads, w.q);
  context.backend->attention_backward({attention_args(context, tape, nullptr), scratch.d_heads, scratch.d_qkv,
                                       w.qkv, scratch.d_qkv + w.q, scratch.d_qkv + w.q + w.kv, w.qkv});
  rotate(context, scratch.d_qkv, true);
  context.product(scratch.d_qkv, w.qkv, layer.qkv.operand(), scratch.normed, w.hidden);
  context.backend->rms_norm_backward({tape.x, w.hidden, layer.attention_norm.data(), scratch.normed, w.hidden,
                                      dx, w.hidden, nullptr, context.rows(), w.hidden,
                                      static_cast<float>(context.config->rms_norm_eps)});
}

}  // namespace dslad::worker
