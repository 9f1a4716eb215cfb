// The trainable parameters of one layer's dual-state linear attention, with their gradients.
//
// Parameters lie in one array, matrices first, so that the optimizer, clipping and checkpoints see plain
// numbers. q, k, v and both gates are the rows of ONE matrix: a layer's input is read once. Thread safety:
// none.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "kernels/training_backend.h"
#include "worker/distill/adamw.h"
#include "worker/distill/float_arena.h"
#include "worker/model/config.h"
#include "worker/model/dsla_layer.h"
#include "worker/model/dsla_variant.h"

namespace dslad::worker {

struct StudentShape {
  StudentShape(const LlamaConfig& config, const DslaVariant& variant);

  std::int64_t hidden, heads, kv_heads, head_dim;
  std::int64_t q_width, kv_width;  // heads * head_dim, kv_heads * head_dim
  std::int64_t key_channels;       // of a head's q and k as projected: the variant's, head_dim or more
  std::int64_t qk_width;           // (heads + kv_heads) * key_channels
  std::int64_t d_k;                // of the states: the variant's state_width(head_dim)
  std::int64_t gate_kinds;         // of the variant: of each state, or the delta rule's gates and betas
  std::int64_t gate_width;         // of each kind: kv_heads * d_k, or kv_heads
  std::int64_t states;             // 1 or 2
  std::int64_t mapped_width;       // (heads + kv_heads) * d_k: q and k after the feature map
  std::int64_t rotated_width;      // q_width + 2 * kv_width where only the window sees q and k rotated, or 0
  std::int64_t input_width;        // qk_width + kv_width + gate_kinds * gate_width: q, k, v, gates
  std::int64_t alpha;              // 2, or 2 * heads, or 0 where there is one state
  std::int64_t norm;               // head_dim, or 0
  std::int64_t share;              // heads, or 0
  std::int64_t qkv_bias;           // gates_column(), or 0 where the model's projections have none
  std::int64_t output_bias;        // hidden, or 0
  std::int64_t qk_norm;            // head_dim, or 0

  [[nodiscard]] std::int64_t keys_column() const { return heads * key_channels; }
  [[nodiscard]] std::int64_t values_column() const { return qk_width; }
  [[nodiscard]] std::int64_t gates_column() const { return qk_width + kv_width; }
};

struct StudentTensors {
  StudentTensors() = default;
  StudentTensors(const StudentShape& shape, FloatArena& arena);

  float* input = nullptr;      // [input_width, hidden]: q, k, v, G_1, G_2 where there are two kinds of gates
  float* output = nullptr;     // [hidden, q_width]
  float* gate_bias = nullptr;  // [gate_kinds, gate_width]
  float* alpha = nullptr;      // [2] or [2, heads]; null with one state
  float* norm = nullptr;       // [head_dim]; null without output norm
  float* share = nullptr;      // [heads] of the states beside the window; null without a window
  // What the teacher's projections have beyond matrices; null where they have none.
  float* qkv_bias = nullptr;     // [gates_column()]: of q, k, v
  float* output_bias = nullptr;  // [hidden]
  float* q_norm = nullptr;       // [head_dim], of every head_dim channels of q
  float* k_norm = nullptr;       // and of k
};

class StudentLayer {
 public:
  // With the values of `tensors`: initial ones, or a chain's. REQUIRES: sizes fit config and variant, as
  // those functions ensure. kResourceExhausted: no memory.
  static Result<std::unique_ptr<StudentLayer>> create(kernels::TrainingBackend& backend,
                                                      const LlamaConfig& config, int layer,
                                                      const DslaVariant& variant,
                                                      const DslaLayerTensors& tensors);
  [[nodiscard]] DslaLayerTensors tensors() const;

  [[nodiscard]] int layer() const { return layer_; }
  [[nodiscard]] const DslaVariant& variant() const { return variant_; }
  [[nodiscard]] const StudentShape& shape() const { return shape_; }

  [[nodiscard]] const StudentTensors& values() const { return values_; }
  [[nodiscard]] const StudentTensors& gradients() const { return gradients_; }
  [[nodiscard]] std::span<float> value_array() const { return {values_.input, size_}; }
  [[nodiscard]] std::span<float> gradient_array() const { return {gradients_.input, size_}; }
  // The arrays' parts for the optimizer: q, k, v; the gates' matrices; o; the layer's own vectors; the
  // teacher's. `projection_rate` is the learning rate, relative to the others', of q, k, v and o and the
  // vectors beside them, which start from the teacher's.
  [[nodiscard]] std::array<ParameterGroup, 5> parameter_groups(double projection_rate) const;

  // softmax(alpha) by query head, [states, heads]; of the values at the last refresh().
  [[nodiscard]] const float* mix() const { return mix_; }
  // Recomputes what is derived from the values; to be called after they changed.
  void refresh();
  // d_mix [states, heads] -> gradient of alpha; added to.
  void add_alpha_gradient(const float* d_mix);

 private:
  StudentLayer(kernels::TrainingBackend::Buffer memory, const StudentShape& shape, int layer,
               const DslaVariant& variant);

  kernels::TrainingBackend::Buffer memory_;
  StudentShape shape_;
  int layer_;
  DslaVariant variant_;
  StudentTensors values_, gradients_;
  std::size_t size_ = 0;
  float* mix_ = nullptr;
};

}  // namespace dslad::worker
