// One step of the model over a mixed batch: prefill pieces and decode tokens of sequences with different
// plans.
//
//   x += W_o mix(norm(x)),  x += W_down (silu(W_gate norm(x)) * W_up norm(x))     layer by layer
// where mix is softmax attention (rotary, paged KV) or dual-state linear attention (dsla_variant.h says with
// what, a window of exact attention beside it for one), by layer and by the plan of the row's sequence; a
// distilled layer has projections of its own, W_o among them. Projections have biases, q and k norms by head,
// layers no rotary embedding, and attention a window, where the model's have (config.h). One step may hold
// plans of several editions of a chain, and so several converted forms of one layer. A row's result does not
// depend on the other sequences of the step (kernels/rows.h). In the last layer only rows whose logits are
// wanted attend and go beyond mix: the others leave nothing behind but keys, values and states. Thread
// safety: one caller at a time. The buffers grow to the largest step and the widest plan seen.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "worker/engine/cache_pool.h"
#include "worker/engine/step_rows.h"
#include "worker/model/dsla_weights.h"
#include "worker/model/weights.h"

namespace dslad::worker {

class Forward {
 public:
  // REQUIRES: weights and caches are of the backend's device.
  Forward(kernels::Backend& backend, std::shared_ptr<const ModelWeights> weights, const CachePool& caches);

  // Bytes of device memory that steps of up to so many rows take beside weights and caches: activations and
  // the rotary table. What kernels work in, by thread, comes on top.
  static std::size_t bytes(const LlamaConfig& config, const RowWidths& widths, std::int64_t rows,
                           std::int64_t logit_rows);

  // Takes that memory for steps of up to so many rows. kResourceExhausted, kUnavailable: as run().
  Status reserve(std::int64_t rows, std::int64_t logit_rows, const RowWidths& widths);

  // Runs the step. Then logits(i) is the i-th row [vocab] of those wanted, in the device's memory: by
  // sequence of `step`, then by token; valid until the next run. A row is the same whichever others are
  // wanted. REQUIRES: tokens are below the vocabulary's size, caches have room. kResourceExhausted: no
  // memory; kUnavailable: the device has failed.
  Status run(std::span<const StepSequence> step);
  [[nodiscard]] std::span<const float> logits(std::size_t i) const;

 private:
  bool make_rope();
  static constexpr std::size_t kRowBuffers = 8, kLogitBuffers = 3;
  // Floats of a row in each of them, in the order in which reserve() names them; 0: it is not needed.
  static std::array<std::int64_t, kRowBuffers> row_floats(const LlamaConfig& config, const RowWidths& widths);
  static std::array<std::int64_t, kLogitBuffers> logit_row_floats(const LlamaConfig& config);
  void mix(int layer, const StepRows& rows, const LayerBlocks& blocks);  // x_ -> heads_
  // x += W_o heads, then x += W_down (silu(W_gate norm(x)) * W_up norm(x)), for the rows of `blocks`, which
  // are those of `all`.
  void add_outputs(int layer, const float* heads, float* x, std::int64_t count, const LayerBlocks& blocks,
                   std::span<const kernels::RowBlock> all);
  // y = x W^T or y += x W^T for the rows of `blocks`; x holds the step's rows side by side, y one every
  // `y_stride`.
  void project(const float* x, const kernels::WeightMatrix& w, float* y, std::int64_t y_stride,
               bool accumulate, std::span<const kernels::RowBlock> blocks);
  // y += bias for the rows of `blocks`; none where the bias is empty.
  void add_bias(const kernels::Vector& bias, float* y, std::int64_t y_stride,
                std::span<const kernels::RowBlock> blocks);
  // RMSNorm of every head_dim channels of q and k, whose heads have `key_channels`; none where the norms are
  // empty.
  void normalize_qk(const kernels::Vector& q_norm, const kernels::Vector& k_norm, std::int64_t key_channels,
                    std::span<const kernels::RowBlock> blocks);
  // The projections of the step's rows: heads of head_dim, but for converted rows until narrow_heads.
  struct Qkv {
    const float *q, *k, *v;
    std::int64_t stride;  // floats from row to row
  };
  [[nodiscard]] Qkv qkv() const;
  // Rotary embedding on q and k, where the layer has one.
  void rotate(int layer, const StepRows& rows, std::span<const kernels::RowBlock> blocks);
  // q and k through the feature map, into mapped_.
  void map_features(const DslaVariant& variant, std::span<const kernels::RowBlock> blocks);
  // Of each head's q and k keeps the first head_dim channels, and moves them and v to where other rows have
  // them.
  void narrow_heads(const DslaVariant& variant, std::span<const kernels::RowBlock> blocks);
  void normalize_heads(float* heads, const kernels::Vector& weight,
                       std::span<const kernels::RowBlock> blocks);
  void softmax_attention(int layer, const StepRows& rows, std::span<const kernels::RowBlock> blocks);
  void linear_attention(int layer, const StepRows& rows, const DslaRows& mine);
  void window_attention(int layer, const StepRows& rows, const DslaWeights& dsla);  // into heads_
  void dual_state_attention(int layer, const StepRows& rows, const DslaWeights& dsla, float* heads);
  // heads_ += share * x by head.
  void add_shares(const float* x, const kernels::Vector& share, std::span<const kernels::RowBlock> blocks);
  void last_layer(const StepRows& rows);
  void output_logits(std::int64_t count);

  kernels::Backend& backend_;
  std::shared_ptr<const ModelWeights> weights_;
  const CachePool& caches_;
  kernels::Device::Buffer rope_values_;
  kernels::RopeTable rope_;  // of rope_values_

  RowWidths widths_;  // that the buffers have; qkv_ has a row every widths_.qkv floats
  std::int64_t capacity_ = 0, logit_capacity_ = 0;                          // rows that the buffers hold
  kernels::Device::Buffer x_, h_, qkv_, gates_, heads_, gate_up_, logits_;  // all f32
  kernels::Device::Buffer selected_, selected_heads_;  // rows of x_ and heads_ whose logits are wanted
  kernels::Device::Buffer state_heads_;  // the states' part of heads_ where a window stands beside them
  kernels::Device::Buffer mapped_;       // q and k after the feature map
};

}  // namespace dslad::worker
