#include "worker/distill/student_layer.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace dslad::worker {

StudentShape::StudentShape(const LlamaConfig& config, const DslaVariant& variant)
    : hidden(config.hidden_size),
      heads(config.heads),
      kv_heads(config.kv_heads),
      head_dim(config.head_dim),
      q_width(heads * head_dim),
      kv_width(kv_heads * head_dim),
      key_channels(variant.key_channels(config.head_dim)),
      qk_width((heads + kv_heads) * key_channels),
      d_k(variant.state_width(config.head_dim)),
      gate_width(kv_heads * d_k),
      mapped_width((heads + kv_heads) * d_k),
      rotated_width(variant.rotates_for_window_only() ? q_width + 2 * kv_width : 0),
      input_width(qk_width + kv_width + 2 * gate_width),
      alpha(variant.alpha_per_head ? 2 * heads : 2),
      norm(variant.output_norm ? head_dim : 0),
      share(variant.window > 0 ? heads : 0) {}

StudentTensors::StudentTensors(const StudentShape& shape, FloatArena& arena)
    : input(arena.take(shape.input_width * shape.hidden)),
      output(arena.take(shape.hidden * shape.q_width)),
      gate_bias(arena.take(2 * shape.gate_width)),
      alpha(arena.take(shape.alpha)),
      norm(shape.norm == 0 ? nullptr : arena.take(shape.norm)),
      share(shape.share == 0 ? nullptr : arena.take(shape.share)) {}

StudentLayer::StudentLayer(kernels::TrainingBackend::Buffer memory, const StudentShape& shape, int layer,
                           const DslaVariant& variant)
    : memory_(std::move(memory)), shape_(shape), layer_(layer), variant_(variant) {
  FloatArena arena(memory_.get());
  values_ = StudentTensors(shape_, arena);
  size_ = arena.bytes() / sizeof(float);
  gradients_ = StudentTensors(shape_, arena);
  mix_ = arena.take(2 * shape_.heads);
}

Result<std::unique_ptr<StudentLayer>> StudentLayer::create(kernels::TrainingBackend& backend,
                                                           const LlamaConfig& config, int layer,
                                                           const DslaVariant& variant,
                                                           const DslaLayerTensors& tensors) {
  const StudentShape shape(config, variant);
  FloatArena measure;
  StudentTensors(shape, measure), StudentTensors(shape, measure);
  measure.take(2 * shape.heads);
  auto memory = backend.allocate(measure.bytes());
  if (memory == nullptr) {
    return Error{ErrorCode::kResourceExhausted,
                 fmt::format("no memory to train layer {} ({} MiB)", layer, measure.bytes() >> 20)};
  }
  std::unique_ptr<StudentLayer> student(new StudentLayer(std::move(memory), shape, layer, variant));
  const StudentTensors& values = student->values_;
  float* row = values.input;
  for (const auto* part : {&tensors.q, &tensors.k, &tensors.v, &tensors.g1, &tensors.g2}) {
    row = std::ranges::copy(*part, row).out;
  }
  std::ranges::copy(tensors.o, values.output);
  std::ranges::copy(tensors.c2, std::ranges::copy(tensors.c1, values.gate_bias).out);
  std::ranges::copy(tensors.alpha, values.alpha);
  if (values.norm != nullptr) std::ranges::copy(tensors.o_norm, values.norm);
  if (values.share != nullptr) std::ranges::copy(tensors.share, values.share);
  student->refresh();
  return student;
}

DslaLayerTensors StudentLayer::tensors() const {
  DslaLayerTensors out;
  const float* row = values_.input;
  const auto take = [&](std::vector<float>& part, std::int64_t rows) {
    part.assign(row, row + rows * shape_.hidden);
    row += rows * shape_.hidden;
  };
  take(out.q, shape_.keys_column());
  take(out.k, shape_.values_column() - shape_.keys_column());
  take(out.v, shape_.kv_width);
  take(out.g1, shape_.gate_width);
  take(out.g2, shape_.gate_width);
  out.o.assign(values_.output, values_.output + shape_.hidden * shape_.q_width);
  out.c1.assign(values_.gate_bias, values_.gate_bias + shape_.gate_width);
  out.c2.assign(values_.gate_bias + shape_.gate_width, values_.gate_bias + 2 * shape_.gate_width);
  out.alpha.assign(values_.alpha, values_.alpha + shape_.alpha);
  if (shape_.norm > 0) out.o_norm.assign(values_.norm, values_.norm + shape_.norm);
  if (shape_.share > 0) out.share.assign(values_.share, values_.share + shape_.share);
  return out;
}

std::array<ParameterGroup, 4> StudentLayer::parameter_groups(double projection_rate) const {
  const auto qkv = static_cast<std::size_t>(shape_.gates_column() * shape_.hidden);
  const auto inputs = static_cast<std::size_t>(values_.output - values_.input);
  const auto matrices = static_cast<std::size_t>(values_.gate_bias - values_.input);
  return {{{qkv, projection_rate, true},
           {inputs - qkv, 1.0, true},
           {matrices - inputs, projection_rate, true},
           {size_ - matrices, 1.0, false}}};
}

void StudentLayer::refresh() {
  const std::int64_t sets = shape_.alpha / 2;  // of one or all heads
  for (std::int64_t head = 0; head < shape_.heads; ++head) {
    const std::int64_t set = sets == 1 ? 0 : head;
    const float difference = values_.alpha[sets + set] - values_.alpha[set];
    mix_[head] = 1.0f / (1.0f + std::exp(difference));
    mix_[shape_.heads + head] = 1.0f / (1.0f + std::exp(-difference));
  }
}

void StudentLayer::add_alpha_gradient(const float* d_mix) {
  const std::int64_t sets = shape_.alpha / 2;
  for (std::int64_t head = 0; head < shape_.heads; ++head) {
    const std::int64_t set = sets == 1 ? 0 : head;
    const float* w[2] = {mix_ + head, mix_ + shape_.heads + head};
    const float dw[2] = {d_mix[head], d_mix[shape_.heads + head]};
    const float mean = *w[0] * dw[0] + *w[1] * dw[1];
    for (int i = 0; i < 2; ++i) gradients_.alpha[i * sets + set] += *w[i] * (dw[i] - mean);
  }
}

}  // namespace dslad::worker
