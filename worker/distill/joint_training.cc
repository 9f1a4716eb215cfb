#include "worker/distill/joint_training.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace dslad::worker {
namespace {

CosineSchedule schedule_of(const StageOptions& stage) {
  return {stage.rate, stage.lowest_rate, stage.warm_up, stage.steps};
}

bool learns(const JointTurn& turn, int layer) {
  return turn.layers[static_cast<std::size_t>(layer)] != nullptr;
}

}  // namespace

std::vector<JointTurn> turns_of(std::span<const int> plans, std::span<const int> order,
                                const TrainedLayers& students) {
  std::vector<JointTurn> turns;
  for (const int plan : plans) {
    JointTurn& turn = turns.emplace_back(JointTurn{plan, TrainedLayers(students.size())});
    for (const int layer : order.first(static_cast<std::size_t>(plan))) {
      turn.layers[static_cast<std::size_t>(layer)] = students[static_cast<std::size_t>(layer)];
    }
  }
  return turns;
}

JointTraining::JointTraining(Network& network, Stage stage, std::vector<JointTurn> turns,
                             const DistilOptions& options, std::span<const TrainingBatch> training)
    : network_(network),
      stage_(stage),
      turns_(std::move(turns)),
      options_(options),
      schedule_(schedule_of(options.stage(stage))),
      source_(training, options.batch_tokens, options.seed + static_cast<std::uint64_t>(stage)) {
  for (const JointTurn& turn : turns_) {
    for (StudentLayer* const learning : turn.layers) {
      if (learning == nullptr || !students_.emplace(learning->layer(), learning).second) continue;
      optimizers_.emplace(learning->layer(), AdamW(options.optimizer, learning->value_array().size()));
    }
  }
}

// Adds a batch's gradients, and its share of the report.
Status JointTraining::pass(const JointTurn& turn, double scale, JointStep& report) {
  const TrainingBatch batch = source_.next();
  report.tokens += batch.rows();
  if (stage_ == Stage::kChained) {
    const auto losses = network_.train_plan(batch, turn.layers, options_.losses, scale);
    if (!losses) return losses.error();
    for (auto part : {&Losses::ce, &Losses::kl, &Losses::total}) {
      report.losses.*part += (*losses).*part * scale;
    }
    for (auto& [layer, its] : report.layers) its.loss = report.losses.total;
    return ok_status();
  }
  const auto losses = network_.train_beside_teacher(batch, turn.layers, options_.target, scale);
  if (!losses) return losses.error();
  for (auto& [layer, its] : report.layers) {
    const double loss = (*losses)[static_cast<std::size_t>(layer)] * scale;
    its.loss += loss;
    report.losses.total += loss / static_cast<double>(report.layers.size());
  }
  return ok_status();
}

Result<JointStep> JointTraining::step() {
  const JointTurn& turn = turns_[static_cast<std::size_t>(step_) % turns_.size()];
  JointStep report;
  report.stage = stage_;
  report.step = step_ + 1;
  report.steps = options_.stage(stage_).steps;
  report.plan = turn.plan;
  report.rate = schedule_.at(step_);
  for (const auto& [layer, learning] : students_) {
    if (!learns(turn, layer)) continue;
    std::ranges::fill(learning->gradient_array(), 0.0f);
    report.layers[layer] = {};
  }
  const BatchCursor begun = source_.cursor();
  for (int passes = 0; passes < options_.accumulation; ++passes) {
    const Status passed = pass(turn, 1.0 / options_.accumulation, report);
    if (passed) continue;
    source_.seek(begun);
    return passed.error();
  }
  for (auto& [layer, its] : report.layers) {
    StudentLayer& learning = *students_.at(layer);
    its.gradient_norm =
        optimizers_.at(layer).step(learning.value_array(), learning.gradient_array(),
                                   learning.parameter_groups(options_.projection_rate), report.rate);
    if (!std::isfinite(its.loss) || !std::isfinite(its.gradient_norm)) {
      return Error{ErrorCode::kInternal,
                   fmt::format("layer {}, step {}: the {} loss is {}, its gradient's norm {}; a lower "
                               "learning rate may help",
                               layer, report.step, to_string(stage_), its.loss, its.gradient_norm)};
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

// Of the steps done, those in which the layer learned.
std::int64_t JointTraining::steps_of(int layer) const {
  const std::int64_t turns = std::ssize(turns_);
  std::int64_t steps = 0;
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    if (learns(turns_[static_cast<std::size_t>(turn)], layer)) steps += (step_ + turns - 1 - turn) / turns;
  }
  return steps;
}

void JointTraining::restore_layer(int layer, std::span<const float> values,
                                  std::span<const float> first_moment, std::span<const float> second_moment) {
  StudentLayer& learning = *students_.at(layer);
  std::ranges::copy(values, learning.value_array().begin());
  learning.refresh();
  optimizers_.at(layer).restore(steps_of(layer), first_moment, second_moment);
}

}  // namespace dslad::worker
