// The layer-wise stage: one layer behind its predecessors, or any layers in one pass of the teacher.
#include <algorithm>

#include "worker/distill/network.h"
#include "worker/distill/network_streams.h"
#include "worker/distill/squared_error.h"

namespace dslad::worker {

double Network::learn_layer(const BlockContext& context, StudentLayer& layer, const LayerGoal& goal,
                            const LayerTape& tape, double scale) {
  if (stopped()) return 0;
  const TeacherLayer& weights = this->weights(layer.layer());
  const std::int64_t floats = stream_floats(context);
  Streams& s = *streams_;
  double loss = 0;
  if (goal.target == LayerTarget::kAttentionOutput) {
    dsla_forward(context, layer, weights.attention_norm.data(), goal.x, s.output, false, tape.dsla);
    loss = squared_error(s.output, goal.y, floats, scale, s.gradient);
  } else {
    std::copy_n(goal.x, floats, s.output);
    forward_layer(context, layer.layer(), &layer, s.output, &tape);
    loss = squared_error(s.output, goal.y, floats, scale, s.gradient);
    mlp_backward(context, weights, tape.mlp, s.gradient, s.mlp);
  }
  dsla_backward_parameters(context, layer, tape.dsla, s.gradient, s.dsla);
  return loss;
}

Result<double> Network::train_layerwise(const TrainingBatch& batch, const StudentLayers& converted,
                                        StudentLayer& layer, LayerTarget target, double scale) {
  Status ready = reserve(batch.rows());
  if (ready) ready = reserve_tape(layer.layer(), true);
  if (!ready) return ready.error();
  const BlockContext context = this->context(batch);
  const LayerTape& tape = tapes_[static_cast<std::size_t>(layer.layer())];
  Streams& s = *streams_;
  run_below(context, converted, layer.layer());
  if (target == LayerTarget::kAttentionOutput) {
    softmax_forward(context, weights(layer.layer()), s.teacher, {s.target, false}, s.softmax, nullptr);
    return unless_stopped(learn_layer(context, layer, {target, s.student, s.target}, tape, scale));
  }
  forward_layer(context, layer.layer(), nullptr, s.teacher, nullptr);
  return unless_stopped(learn_layer(context, layer, {target, s.student, s.teacher}, tape, scale));
}

Result<std::vector<double>> Network::train_beside_teacher(const TrainingBatch& batch,
                                                          const TrainedLayers& students, LayerTarget target,
                                                          double scale) {
  const auto top =
      std::ranges::find_if(students.rbegin(), students.rend(), [](auto* s) { return s != nullptr; });
  const auto end = static_cast<int>(students.rend() - top);  // no layer above it is asked for
  // One tape serves every layer: the last one's, since a chained step of any layer needs it too.
  Status ready = reserve(batch.rows());
  if (ready) ready = reserve_tape(teacher_->config.layers - 1, true);
  if (!ready) return ready.error();
  const BlockContext context = this->context(batch);
  const LayerTape& tape = tapes_.back();
  const std::int64_t floats = stream_floats(context);
  Streams& s = *streams_;
  std::vector<double> losses(students.size());
  embed(batch, s.teacher);
  for (int i = 0; i < end && !stopped(); ++i) {
    StudentLayer* const student = students[static_cast<std::size_t>(i)];
    LayerGoal goal{target, s.teacher, s.target};
    if (target == LayerTarget::kAttentionOutput) {
      // What attention adds is computed once: the student's goal, and the stream's next part. So it is below
      // every layer, whether that learns or not: what a layer sees does not depend on the others.
      softmax_forward(context, weights(i), s.teacher, {s.target, false}, s.softmax, nullptr);
    } else {
      std::copy_n(s.teacher, floats, s.student);
      forward_layer(context, i, nullptr, s.teacher, nullptr);
      goal = {target, s.student, s.teacher};
    }
    if (student != nullptr) {
      losses[static_cast<std::size_t>(i)] = learn_layer(context, *student, goal, tape, scale);
    }
    if (target == LayerTarget::kAttentionOutput) {
      for (std::int64_t k = 0; k < floats; ++k) s.teacher[k] += s.target[k];
      mlp_forward(context, weights(i), s.teacher, s.mlp, nullptr);
    }
  }
  return unless_stopped(std::move(losses));
}

}  // namespace dslad::worker
