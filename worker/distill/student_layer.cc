#include "worker/distill/student_layer.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace dslad::worker {
namespace {

float* take(FloatArena& arena, std::int64_t size) {
  return size == 0 ? nullptr : arena.take(size);
}

// A tensor of a layer's file, and where a student has its values.
struct Place {
  std::vector<float> DslaLayerTensors::*tensor;
  float* values;
  std::int64_t size;
};

std::vector<Place> places_of(const StudentShape& s, const StudentTensors& values) {
  using Tensors = DslaLayerTensors;
  const std::int64_t q = s.keys_column(), k = s.values_column() - q;
  std::vector<Place> places;
  float* row = values.input;
  for (const auto& [tensor, rows] :
       {std::pair{&Tensors::q, q}, std::pair{&Tensors::k, k}, std::pair{&Tensors::v, s.kv_width},
        std::pair{&Tensors::g1, s.gate_width}, std::pair{&Tensors::g2, (s.gate_kinds - 1) * s.gate_width}}) {
    places.push_back({tensor, row, rows * s.hidden});
    row += rows * s.hidden;
  }
  places.push_back({&Tensors::o, values.output, s.hidden * s.q_width});
  places.push_back({&Tensors::c1, values.gate_bias, s.gate_width});
  places.push_back({&Tensors::c2, values.gate_bias + s.gate_width, (s.gate_kinds - 1) * s.gate_width});
  places.push_back({&Tensors::alpha, values.alpha, s.alpha});
  places.push_back({&Tensors::o_norm, values.norm, s.norm});
  places.push_back({&Tensors::share, values.share, s.share});
  if (s.qkv_bias > 0) {
    places.push_back({&Tensors::q_bias, values.qkv_bias, q});
    places.push_back({&Tensors::k_bias, values.qkv_bias + q, k});
    places.push_back({&Tensors::v_bias, values.qkv_bias + s.values_column(), s.kv_width});
  }
  places.push_back({&Tensors::o_bias, values.output_bias, s.output_bias});
  places.push_back({&Tensors::q_norm, values.q_norm, s.qk_norm});
  places.push_back({&Tensors::k_norm, values.k_norm, s.qk_norm});
  return places;
}

}  // namespace

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
      gate_kinds(variant.gate_kinds()),
      gate_width(variant.gates_of_kind(kv_heads, config.head_dim)),
      states(variant.states),
      mapped_width((heads + kv_heads) * d_k),
      rotated_width(variant.rotates_for_window_only() ? q_width + 2 * kv_width : 0),
      input_width(qk_width + kv_width + gate_kinds * gate_width),
      alpha(variant.alpha_size(heads)),
      norm(variant.output_norm() ? head_dim : 0),
      share(variant.window > 0 ? heads : 0),
      qkv_bias(config.qkv_bias ? gates_column() : 0),
      output_bias(config.output_bias ? hidden : 0),
      qk_norm(config.qk_norm ? head_dim : 0) {}

StudentTensors::StudentTensors(const StudentShape& shape, FloatArena& arena)
    : input(arena.take(shape.input_width * shape.hidden)),
      output(arena.take(shape.hidden * shape.q_width)),
      gate_bias(arena.take(shape.gate_kinds * shape.gate_width)),
      alpha(take(arena, shape.alpha)),
      norm(take(arena, shape.norm)),
      share(take(arena, shape.share)),
      qkv_bias(take(arena, shape.qkv_bias)),
      output_bias(take(arena, shape.output_bias)),
      q_norm(take(arena, shape.qk_norm)),
      k_norm(take(arena, shape.qk_norm)) {}

StudentLayer::StudentLayer(kernels::TrainingBackend::Buffer memory, const StudentShape& shape, int layer,
                           const DslaVariant& variant)
    : memory_(std::move(memory)), shape_(shape), layer_(layer), variant_(variant) {
  FloatArena arena(memory_.get());
  values_ = StudentTensors(shape_, arena);
  size_ = arena.bytes() / sizeof(float);
  gradients_ = StudentTensors(shape_, arena);
  mix_ = arena.take(shape_.states * shape_.heads);
}

Result<std::unique_ptr<StudentLayer>> StudentLayer::create(kernels::TrainingBackend& backend,
                                                           const LlamaConfig& config, int layer,
                                                           const DslaVariant& variant,
                                                           const DslaLayerTensors& tensors) {
  const StudentShape shape(config, variant);
  FloatArena measure;
  StudentTensors(shape, measure), StudentTensors(shape, measure);
  measure.take(shape.states * shape.heads);
  auto memory = backend.allocate(measure.bytes());
  if (memory == nullptr) {
    return Error{ErrorCode::kResourceExhausted,
                 fmt::format("no memory to train layer {} ({} MiB)", layer, measure.bytes() >> 20)};
  }
  std::unique_ptr<StudentLayer> student(new StudentLayer(std::move(memory), shape, layer, variant));
  for (const Place& place : places_of(shape, student->values_)) {
    std::ranges::copy(tensors.*place.tensor, place.values);
  }
  student->refresh();
  return student;
}

DslaLayerTensors StudentLayer::tensors() const {
  DslaLayerTensors out;
  for (const Place& place : places_of(shape_, values_)) {
    (out.*place.tensor).assign(place.values, place.values + place.size);
  }
  return out;
}

std::array<ParameterGroup, 5> StudentLayer::parameter_groups(double projection_rate) const {
  const auto qkv = static_cast<std::size_t>(shape_.gates_column() * shape_.hidden);
  const auto inputs = static_cast<std::size_t>(values_.output - values_.input);
  const auto matrices = static_cast<std::size_t>(values_.gate_bias - values_.input);
  const float* first = values_.input + size_;  // of the teacher's vectors, which lie at the end
  for (const float* vector : {values_.q_norm, values_.output_bias, values_.qkv_bias}) {
    if (vector != nullptr) first = vector;
  }
  const auto others = static_cast<std::size_t>(first - values_.input);
  return {{{qkv, projection_rate, true},
           {inputs - qkv, 1.0, true},
           {matrices - inputs, projection_rate, true},
           {others - matrices, 1.0, false},
           {size_ - others, projection_rate, false}}};
}

void StudentLayer::refresh() {
  if (shape_.alpha == 0) {
    std::fill_n(mix_, shape_.heads, 1.0f);
    return;
  }
  const std::int64_t sets = shape_.alpha / 2;  // of one or all heads
  for (std::int64_t head = 0; head < shape_.heads; ++head) {
    const std::int64_t set = sets == 1 ? 0 : head;
    const float difference = values_.alpha[sets + set] - values_.alpha[set];
    mix_[head] = 1.0f / (1.0f + std::exp(difference));
    mix_[shape_.heads + head] = 1.0f / (1.0f + std::exp(-difference));
  }
}

void StudentLayer::add_alpha_gradient(const float* d_mix) {
  if (shape_.alpha == 0) return;
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
