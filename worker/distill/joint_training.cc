#include "worker/distill/joint_training.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace dslad::worker {

double JointStep::mean_loss() const {
  double sum = 0;
  for (const auto& [layer, its] : layers) sum += its.loss;
  return sum / static_cast<double>(layers.size());
}

JointTraining::JointTraining(Network& network, TrainedLayers students, const DistilOptions& options,
                             std::span<const TrainingBatch> training)
    : network_(network),
      students_(std::move(students)),
      options_(options),
      schedule_{options.layerwise.rate, options.layerwise.lowest_rate, options.layerwise.warm_up,
                options.layerwise.steps},
      source_(training, options.batch_tokens, options.seed) {
  for (const StudentLayer* learning : students_) {
    if (learning == nullptr) continue;
    optimizers_.emplace(learning->layer(), AdamW(options.optimizer, learning->value_array().size()));
  }
}

Result<JointStep> JointTraining::step() {
  JointStep report{step_ + 1, options_.layerwise.steps, {}, schedule_.at(step_), 0};
  for (const auto& [layer, optimizer] : optimizers_) {
    std::ranges::fill(student(layer).gradient_array(), 0.0f);
  }
  const double scale = 1.0 / options_.accumulation;
  for (int pass = 0; pass < options_.accumulation; ++pass) {
    const TrainingBatch batch = source_.next();
    const auto losses = network_.train_beside_teacher(batch, students_, options_.target, scale);
    if (!losses) return losses.error();
    for (const auto& [layer, optimizer] : optimizers_) {
      report.layers[layer].loss += (*losses)[static_cast<std::size_t>(layer)] * scale;
    }
    report.tokens += batch.rows();
  }
  for (auto& [layer, optimizer] : optimizers_) {
    StudentLayer& learning = student(layer);
    JointStep::Layer& its = report.layers[layer];
    its.gradient_norm = optimizer.step(learning.value_array(), learning.gradient_array(),
                                       learning.parameter_groups(options_.projection_rate), report.rate);
    if (!std::isfinite(its.loss) || !std::isfinite(its.gradient_norm)) {
      return Error{
          ErrorCode::kInternal,
          fmt::format("layer {}, step {}: the layer-wise loss is {}, its gradient's norm {}; a lower "
                      "learning rate may help",
                      layer, report.step, its.loss, its.gradient_norm)};
    }
    learning.refresh();
  }
  ++step_;
  tokens_ += report.tokens;
  return report;
}

void JointTraining::seek(std::int64_t step, std::int64_t tokens, BatchCursor cursor) {
  step_ = step;
  tokens_ = tokens;
  source_.seek(cursor);
}

void JointTraining::restore_layer(int layer, std::span<const float> values,
                                  std::span<const float> first_moment, std::span<const float> second_moment) {
  std::ranges::copy(values, student(layer).value_array().begin());
  student(layer).refresh();
  optimizers_.at(layer).restore(step_, first_moment, second_moment);
}

}  // namespace dslad::worker
