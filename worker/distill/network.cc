#include "worker/distill/network.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "worker/distill/network_streams.h"
#include "worker/distill/squared_error.h"

namespace dslad::worker {

using kernels::DType;

Network::Network(kernels::TrainingBackend& backend, std::shared_ptr<const Teacher> teacher, DType compute,
                 const DslaVariant& variant)
    : backend_(backend),
      teacher_(std::move(teacher)),
      compute_(compute),
      rope_(teacher_->config.inverse_frequencies(), teacher_->config.context,
            teacher_->config.rope.attention_factor),
      student_shape_(teacher_->config, variant),
      tapes_(teacher_->layers.size()) {}

Network::~Network() = default;

Status Network::reserve(std::int64_t rows) {
  if (rows <= rows_) return ok_status();
  const LlamaConfig& c = teacher_->config;
  FloatArena measure;
  const Streams measured(c, student_shape_, rows, measure);
  streams_.reset();
  memory_.reset();
  rows_ = 0;
  for (LayerTape& tape : tapes_) tape = LayerTape();
  memory_ = backend_.allocate(measure.bytes());
  if (memory_ == nullptr) {
    return Error{ErrorCode::kResourceExhausted,
                 fmt::format("no memory for a batch of {} tokens ({} MiB); lower --batch-tokens", rows,
                             measure.bytes() >> 20)};
  }
  memory_bytes_ = measure.bytes();
  FloatArena arena(memory_.get());
  streams_ = std::make_unique<Streams>(c, student_shape_, rows, arena);
  rows_ = rows;
  return ok_status();
}

Status Network::reserve_tape(int layer, bool converted) {
  LayerTape& tape = tapes_[static_cast<std::size_t>(layer)];
  if (tape.memory != nullptr && tape.converted == converted) return ok_status();
  const auto place = [&](FloatArena& arena) {
    if (converted) {
      tape.dsla = DslaTape(student_shape_, rows_, arena);
    } else {
      tape.softmax = SoftmaxTape(teacher_->config, rows_, arena);
    }
    tape.mlp = MlpTape(teacher_->config, rows_, arena);
  };
  FloatArena measure;
  place(measure);
  // Where plans take turns a layer is now converted and now not: the larger of the two serves both.
  if (tape.bytes < measure.bytes()) {
    tape = LayerTape();
    tape.memory = backend_.allocate(measure.bytes());
    if (tape.memory == nullptr) {
      return Error{ErrorCode::kResourceExhausted,
                   fmt::format("no memory for the activations of layer {} ({} MiB); lower --batch-tokens",
                               layer, measure.bytes() >> 20)};
    }
    tape.bytes = measure.bytes();
  }
  tape.converted = converted;
  FloatArena arena(tape.memory.get());
  place(arena);
  return ok_status();
}

std::size_t Network::held_bytes() const {
  std::size_t bytes = memory_bytes_;
  for (const LayerTape& tape : tapes_) bytes += tape.bytes;
  return bytes;
}

std::size_t Network::activation_bytes(const LlamaConfig& config, const DslaVariant& variant,
                                      std::int64_t rows, int layer) {
  const StudentShape shape(config, variant);
  FloatArena arena;
  const Streams streams(config, shape, rows, arena);
  const DslaTape trained(shape, rows, arena);
  const MlpTape its_mlp(config, rows, arena);
  for (int i = layer + 1; i < config.layers; ++i) {
    const SoftmaxTape softmax(config, rows, arena);
    const MlpTape mlp(config, rows, arena);
  }
  return arena.bytes();
}

BlockContext Network::context(const TrainingBatch& batch) const {
  return {&backend_, &teacher_->config, &rope_, compute_, &batch};
}

void Network::embed(const TrainingBatch& batch, float* x) const {
  for (const std::int32_t id : batch.ids) {
    teacher_->embedding.copy_row(id, x);
    x += teacher_->config.hidden_size;
  }
}

void Network::forward_layer(const BlockContext& context, int layer, const StudentLayer* converted, float* x,
                            const LayerTape* tape) {
  if (stopped()) return;
  const TeacherLayer& weights = this->weights(layer);
  if (converted != nullptr) {
    dsla_forward(context, *converted, weights.attention_norm.data(), x, x, true,
                 tape != nullptr ? tape->dsla : streams_->dsla.tape);
  } else {
    softmax_forward(context, weights, x, {x, true}, streams_->softmax,
                    tape != nullptr ? &tape->softmax : nullptr);
  }
  mlp_forward(context, weights, x, streams_->mlp, tape != nullptr ? &tape->mlp : nullptr);
}

void Network::backward_layer(const BlockContext& context, int layer, const StudentLayer* converted) {
  if (stopped()) return;
  const TeacherLayer& weights = this->weights(layer);
  const LayerTape& tape = tapes_[static_cast<std::size_t>(layer)];
  mlp_backward(context, weights, tape.mlp, streams_->gradient, streams_->mlp);
  if (converted != nullptr) {
    dsla_backward_input(context, *converted, weights.attention_norm.data(), tape.dsla, streams_->gradient,
                        streams_->dsla);
  } else {
    softmax_backward(context, weights, tape.softmax, streams_->gradient, streams_->softmax);
  }
}

void Network::run_below(const BlockContext& context, const StudentLayers& converted, int end) {
  embed(*context.batch, streams_->teacher);
  bool apart = false;
  for (int layer = 0; layer < end; ++layer) {
    const StudentLayer* student = converted[static_cast<std::size_t>(layer)];
    if (student != nullptr && !apart) {
      std::copy_n(streams_->teacher, stream_floats(context), streams_->student);
      apart = true;
    }
    if (apart) forward_layer(context, layer, student, streams_->student, nullptr);
    forward_layer(context, layer, nullptr, streams_->teacher, nullptr);
  }
  // Until the first converted layer the two are one.
  if (!apart) std::copy_n(streams_->teacher, stream_floats(context), streams_->student);
}

const TeacherLayer& Network::weights(int layer) const {
  return teacher_->layers[static_cast<std::size_t>(layer)];
}

std::int64_t Network::stream_floats(const BlockContext& context) const {
  return context.rows() * teacher_->config.hidden_size;
}

Result<Losses> Network::evaluate(const TrainingBatch& batch, const StudentLayers& converted) {
  const Status ready = reserve(batch.rows());
  if (!ready) return ready.error();
  const BlockContext context = this->context(batch);
  run_below(context, converted, teacher_->config.layers);
  return unless_stopped(vocabulary_losses(context, {1, 0, 1}, true, 0, false));
}

Result<std::vector<Losses>> Network::evaluate_alone(const TrainingBatch& batch,
                                                    const StudentLayers& students) {
  const Status ready = reserve(batch.rows());
  if (!ready) return ready.error();
  const BlockContext context = this->context(batch);
  const auto floats = static_cast<std::size_t>(stream_floats(context));
  const int layers = teacher_->config.layers;
  Streams& s = *streams_;
  // By layer its input, and at the end what comes out of the last one.
  const auto memory = backend_.allocate((static_cast<std::size_t>(layers) + 1) * floats * sizeof(float));
  if (memory == nullptr) {
    return Error{
        ErrorCode::kResourceExhausted,
        fmt::format("no memory for every layer's input, of {} tokens; lower --batch-tokens", batch.rows())};
  }
  auto* const states = reinterpret_cast<float*>(memory.get());
  const auto input = [&](int layer) { return states + static_cast<std::size_t>(layer) * floats; };
  embed(batch, s.teacher);
  for (int layer = 0; layer < layers; ++layer) {
    std::copy_n(s.teacher, floats, input(layer));
    forward_layer(context, layer, nullptr, s.teacher, nullptr);
  }
  std::copy_n(s.teacher, floats, input(layers));
  std::vector<Losses> losses(students.size());
  for (int first = 0; first < layers; ++first) {
    const StudentLayer* const student = students[static_cast<std::size_t>(first)];
    if (student == nullptr) continue;
    std::copy_n(input(first), floats, s.student);
    for (int layer = first; layer < layers; ++layer) {
      forward_layer(context, layer, layer == first ? student : nullptr, s.student, nullptr);
    }
    std::copy_n(input(layers), floats, s.teacher);
    losses[static_cast<std::size_t>(first)] = vocabulary_losses(context, {1, 0, 1}, true, 0, false);
  }
  return unless_stopped(std::move(losses));
}

Result<std::vector<double>> Network::mean_gates(const TrainingBatch& batch, const StudentLayers& converted,
                                                int layer) {
  const Status ready = reserve(batch.rows());
  if (!ready) return ready.error();
  const BlockContext context = this->context(batch);
  const StudentLayer& student = *converted[static_cast<std::size_t>(layer)];
  const StudentShape& shape = student.shape();
  Streams& s = *streams_;
  run_below(context, converted, layer);
  dsla_forward(context, student, weights(layer).attention_norm.data(), s.student, s.output, false,
               s.dsla.tape);

  const std::int64_t channels = shape.states * shape.gate_width;  // not of betas
  std::vector<double> mean(static_cast<std::size_t>(channels));
  for (std::int64_t row = 0; row < context.rows(); ++row) {
    const float* z = s.dsla.tape.projected + row * shape.input_width + shape.gates_column();
    for (std::int64_t i = 0; i < channels; ++i) {
      const double logit = static_cast<double>(z[i]) + static_cast<double>(student.values().gate_bias[i]);
      const double log_sigmoid = std::min(logit, 0.0) - std::log1p(std::exp(-std::abs(logit)));
      mean[static_cast<std::size_t>(i)] +=
          std::exp(std::max(log_sigmoid / kernels::kGateTemperature, double{kernels::kMinLogGate})) /
          static_cast<double>(context.rows());
    }
  }
  return unless_stopped(std::move(mean));
}

Status Network::measure_entropy(const TrainingBatch& batch, const EntropySink& sink) {
  const Status ready = reserve(batch.rows());
  if (!ready) return ready.error();
  const BlockContext context = this->context(batch);
  Streams& s = *streams_;
  embed(batch, s.teacher);
  for (int layer = 0; layer < teacher_->config.layers; ++layer) {
    if (stopped()) return Error{ErrorCode::kUnavailable, "stopped"};
    softmax_forward(context, weights(layer), s.teacher, {s.teacher, true, s.entropy}, s.softmax, nullptr);
    mlp_forward(context, weights(layer), s.teacher, s.mlp, nullptr);
    sink(layer, {s.entropy, static_cast<std::size_t>(context.rows() * teacher_->config.heads)});
  }
  return ok_status();
}

}  // namespace dslad::worker
