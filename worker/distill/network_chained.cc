// The chained stage: a loss over the whole network, for one layer behind its predecessors, or for all layers
// of a plan.
#include <algorithm>

#include "worker/distill/network.h"
#include "worker/distill/network_streams.h"
#include "worker/distill/squared_error.h"

namespace dslad::worker {

Result<Losses> Network::train_chained(const TrainingBatch& batch, const StudentLayers& converted,
                                      StudentLayer& layer, const LossWeights& weights, double scale) {
  StudentLayers all = converted;
  all[static_cast<std::size_t>(layer.layer())] = &layer;
  const int layers = teacher_->config.layers;
  Status ready = reserve(batch.rows());
  for (int i = layer.layer(); ready && i < layers; ++i) {
    ready = reserve_tape(i, all[static_cast<std::size_t>(i)] != nullptr);
  }
  if (!ready) return ready.error();
  const BlockContext context = this->context(batch);
  const std::int64_t floats = stream_floats(context);
  const bool divergence = weights.kl > 0;
  Streams& s = *streams_;

  run_below(context, converted, layer.layer());
  double align = 0;
  for (int i = layer.layer(); i < layers; ++i) {
    forward_layer(context, i, all[static_cast<std::size_t>(i)], s.student,
                  &tapes_[static_cast<std::size_t>(i)]);
    // Nothing above the trained layer asks for the teacher but the divergence.
    if (i == layer.layer() || divergence) forward_layer(context, i, nullptr, s.teacher, nullptr);
    if (i == layer.layer()) {
      // The error and its gradient are kept until the backward pass arrives here.
      align = squared_error(s.student, s.teacher, floats, weights.align * scale, s.target);
    }
  }
  Losses losses = vocabulary_losses(context, weights, divergence, scale, true);
  losses.align = align;
  for (int i = layers - 1; i > layer.layer(); --i)
    backward_layer(context, i, all[static_cast<std::size_t>(i)]);

  for (std::int64_t i = 0; i < floats; ++i) s.gradient[i] += s.target[i];
  const LayerTape& tape = tapes_[static_cast<std::size_t>(layer.layer())];
  mlp_backward(context, this->weights(layer.layer()), tape.mlp, s.gradient, s.mlp);
  dsla_backward_parameters(context, layer, tape.dsla, s.gradient, s.dsla);
  losses.total = weights.ce * losses.ce + weights.kl * losses.kl + weights.align * losses.align;
  return unless_stopped(losses);
}

Result<Losses> Network::train_plan(const TrainingBatch& batch, const TrainedLayers& layers,
                                   const LossWeights& weights, double scale) {
  const auto lowest = std::ranges::find_if(layers, [](auto* layer) { return layer != nullptr; });
  const auto first = static_cast<int>(lowest - layers.begin());
  const int end = teacher_->config.layers;
  const auto learning = [&](int layer) { return layers[static_cast<std::size_t>(layer)]; };
  const auto tape = [&](int layer) -> const LayerTape& { return tapes_[static_cast<std::size_t>(layer)]; };
  Status ready = reserve(batch.rows());
  for (int i = first; ready && i < end; ++i) ready = reserve_tape(i, learning(i) != nullptr);
  if (!ready) return ready.error();
  const BlockContext context = this->context(batch);
  const bool divergence = weights.kl > 0;
  Streams& s = *streams_;

  run_below(context, StudentLayers(layers.size()), first);
  for (int i = first; i < end; ++i) {
    forward_layer(context, i, learning(i), s.student, &tape(i));
    if (divergence) forward_layer(context, i, nullptr, s.teacher, nullptr);
  }
  const Losses losses = vocabulary_losses(context, weights, divergence, scale, true);
  for (int i = end - 1; i >= first && !stopped(); --i) {
    StudentLayer* const layer = learning(i);
    if (layer == nullptr) {
      backward_layer(context, i, nullptr);
      continue;
    }
    mlp_backward(context, this->weights(i), tape(i).mlp, s.gradient, s.mlp);
    if (i > first) {
      dsla_backward(context, *layer, this->weights(i).attention_norm.data(), tape(i).dsla, s.gradient,
                    s.dsla);
    } else {
      dsla_backward_parameters(context, *layer, tape(i).dsla, s.gradient, s.dsla);
    }
  }
  return unless_stopped(losses);
}

}  // namespace dslad::worker
