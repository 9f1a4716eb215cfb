#include "worker/distill/layer_training.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "worker/distill/held_out.h"
#include "worker/distill/stopwatch.h"

namespace dslad::worker {
namespace {

constexpr int kFirstFurther = 2;  // stage: behind the layer-wise and the chained one

class LayerTraining {
 public:
  LayerTraining(Network& network, StudentLayer& layer, const StudentLayers& converted,
                const TrainingSetup& setup, const LayerwiseResult* layerwise)
      : network_(network),
        layer_(layer),
        converted_(converted),
        setup_(setup),
        layerwise_(layerwise),
        options_(*setup.options),
        stages_(options_.stages()),
        source_(source_over(setup.training)),
        optimizer_(options_.optimizer, layer.value_array().size()) {
    state_.layer = layer.layer();
  }

  Result<LayerOutcome> run() {
    Status status = begin();
    for (; status && !past_last();) status = run_stage();
    if (!status) return status.error();
    return LayerOutcome{state_.kl, state_.ce, state_.reached_kl, state_.tokens};
  }

 private:
  BatchSource source_over(std::span<const TrainingBatch> sequences) const {
    return {sequences, options_.batch_tokens, options_.seed + static_cast<std::uint64_t>(layer_.layer())};
  }

  Status begin() {
    keep_values();
    auto checkpoint = load_checkpoint(setup_.dir);
    if (!checkpoint) return checkpoint.error();
    if (checkpoint->has_value() && (*checkpoint)->state.layer == layer_.layer()) {
      Status restored = restore(**checkpoint);
      if (!restored) return restored;
    }
    // A checkpoint says how much of the log belongs to it; without one the earlier layers' lines stay.
    const auto path = setup_.dir / "log.jsonl";
    auto log = TrainingLog::open(path, state_.number > 0 ? state_.log_bytes : TrainingLog::size(path));
    if (!log) return log.error();
    log_ = std::make_unique<TrainingLog>(*std::move(log));
    if (state_.number == 0) {
      // Before the layer's first line, so that a run killed before its next checkpoint leaves none behind.
      Status saved = save();
      if (!saved) return saved;
    }
    return state_.kl.empty() ? measure() : ok_status();
  }

  Status restore(const Checkpoint& checkpoint) {
    const std::size_t size = layer_.value_array().size();
    if (checkpoint.values.size() != size || checkpoint.stage_start.size() != size ||
        checkpoint.first_moment.size() != size || checkpoint.second_moment.size() != size) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("{}: the checkpoint holds {} parameters, layer {} has {}; remove the folder's "
                               "checkpoint to train the layer anew",
                               setup_.dir.string(), checkpoint.values.size(), layer_.layer(), size)};
    }
    state_ = checkpoint.state;
    set_values(checkpoint.values);
    stage_start_ = checkpoint.stage_start;
    optimizer_.restore(state_.optimizer_steps, checkpoint.first_moment, checkpoint.second_moment);
    source_ = source_over(sequences());
    source_.seek(state_.cursor);
    return ok_status();
  }

  Status run_stage() {
    const LayerStage& stage = current_stage();
    if (state_.stage == 0 && layerwise_ != nullptr) return take_layerwise();
    if (!stage.is_for(state_.kl.back())) return end_stage(false);
    const StageOptions& options = stage.options;
    const CosineSchedule schedule{options.rate, options.lowest_rate, options.warm_up, options.steps};
    while (state_.step < options.steps) {
      if (setup_.stop != nullptr && *setup_.stop) return stop();
      if (setup_.ends_early && state_.stage < kFirstFurther) {
        const auto ends = setup_.ends_early(stage.loss, state_.step);
        if (!ends) return ends.error();
        if (*ends) break;
      }
      Status stepped = step(stage, schedule, options.steps);
      if (!stepped && stepped.error().code == ErrorCode::kUnavailable && network_.stopped()) return stop();
      if (!stepped) return stepped;
      if (since_saved_.seconds() >= setup_.checkpoint_seconds) {
        Status saved = save();
        if (!saved) return saved;
      }
    }
    return end_stage(true);
  }

  Status stop() {
    Status saved = save();
    return saved ? Status(Error{ErrorCode::kUnavailable, "stopped; --resume goes on from here"}) : saved;
  }

  // What the stage came to beside other layers takes its place here: measured behind the layers converted so
  // far, and undone as any stage.
  Status take_layerwise() {
    set_values(layerwise_->values);
    state_.tokens += layerwise_->tokens;
    return end_stage(true);
  }

  Status end_stage(bool trained) {
    if (trained) {
      Status measured = measure();
      if (measured && options_.undo_worse) measured = undo_if_worse();
      if (!measured) return measured;
      keep_values();
    }
    const TrainingBatch* before = sequences().data();
    ++state_.stage;
    state_.step = 0;
    if (sequences().data() != before) source_ = source_over(sequences());
    optimizer_ = AdamW(options_.optimizer, layer_.value_array().size());
    return save();
  }

  // After a stage's measurement: back to where it began, if that was nearer to the teacher.
  Status undo_if_worse() {
    const std::size_t last = state_.kl.size() - 1;
    if (state_.kl[last] <= state_.kl[last - 1]) return ok_status();
    set_values(stage_start_);
    state_.kl[last] = state_.kl[last - 1];
    state_.ce[last] = state_.ce[last - 1];
    return log_->append({{"layer", layer_.layer()}, {"undone", current_stage().name}});
  }

  void keep_values() { stage_start_.assign(layer_.value_array().begin(), layer_.value_array().end()); }
  void set_values(std::span<const float> values) {
    std::ranges::copy(values, layer_.value_array().begin());
    layer_.refresh();
  }

  Status step(const LayerStage& stage, const CosineSchedule& schedule, std::int64_t steps) {
    const Stopwatch watch;
    std::ranges::fill(layer_.gradient_array(), 0.0f);
    StepReport report{layer_.layer(), stage.loss, stage.name, state_.step + 1, steps, {}, 0, 0, 0, 0};
    std::int64_t tokens = 0;
    const double scale = 1.0 / options_.accumulation;
    const BatchCursor begun = source_.cursor();
    for (int pass = 0; pass < options_.accumulation; ++pass) {
      const TrainingBatch batch = source_.next();
      tokens += batch.rows();
      const auto losses = pass_losses(stage.loss, batch, scale);
      if (!losses) {
        source_.seek(begun);
        return losses.error();
      }
      for (auto part : {&Losses::ce, &Losses::kl, &Losses::align, &Losses::total}) {
        report.losses.*part += (*losses).*part * scale;
      }
    }
    report.rate = schedule.at(state_.step);
    report.gradient_norm = optimizer_.step(layer_.value_array(), layer_.gradient_array(),
                                           layer_.parameter_groups(options_.projection_rate), report.rate);
    if (!std::isfinite(report.losses.total) || !std::isfinite(report.gradient_norm)) {
      return Error{
          ErrorCode::kInternal,
          fmt::format(
              "layer {}, stage {}, step {}: the loss is {}, its gradient's norm {}; stopped, the last "
              "good checkpoint stays (a lower learning rate may help)",
              layer_.layer(), stage.name, state_.step + 1, report.losses.total, report.gradient_norm)};
    }
    layer_.refresh();
    ++state_.step;
    state_.tokens += tokens;
    report.tokens = tokens;
    report.tokens_per_second = static_cast<double>(tokens) / std::max(1e-9, watch.seconds());
    if (setup_.on_step) setup_.on_step(report);
    return log(report);
  }

  Result<Losses> pass_losses(Stage loss, const TrainingBatch& batch, double scale) {
    if (loss != Stage::kLayerwise) {
      return network_.train_chained(batch, converted_, layer_, options_.losses, scale);
    }
    const auto total = network_.train_layerwise(batch, converted_, layer_, options_.target, scale);
    if (!total) return total.error();
    Losses losses;
    losses.total = *total;
    return losses;
  }

  Status log(const StepReport& report) {
    nlohmann::ordered_json line = {{"layer", report.layer},
                                   {"stage", report.stage},
                                   {"step", report.step},
                                   {"steps", report.steps},
                                   {"loss", report.losses.total}};
    if (report.loss != Stage::kLayerwise) {
      line["ce"] = report.losses.ce;
      line["kl"] = report.losses.kl;
      line["align"] = report.losses.align;
    }
    line["rate"] = report.rate;
    line["gradient_norm"] = report.gradient_norm;
    line["tokens"] = report.tokens;
    line["tokens_per_second"] = std::round(report.tokens_per_second);
    return log_->append(line);
  }

  // Held-out divergence with the layer as it is.
  Status measure() {
    StudentLayers all = converted_;
    all[static_cast<std::size_t>(layer_.layer())] = &layer_;
    const auto losses = held_out_losses(network_, setup_.held_out, options_.batch_tokens, all);
    if (!losses) return losses.error();
    state_.kl.push_back(losses->kl);
    state_.reached_kl.push_back(losses->kl);
    state_.ce.push_back(losses->ce);
    return log_->append({{"layer", layer_.layer()},
                         {"after", state_.kl.size() == 1 ? "initialisation" : current_stage().name},
                         {"held_out_kl", losses->kl},
                         {"held_out_ce", losses->ce}});
  }
  [[nodiscard]] bool past_last() const { return static_cast<std::size_t>(state_.stage) >= stages_.size(); }
  [[nodiscard]] const LayerStage& current_stage() const {
    return stages_[static_cast<std::size_t>(state_.stage)];
  }

  // What the current stage trains on.
  [[nodiscard]] std::span<const TrainingBatch> sequences() const {
    if (past_last() || state_.stage < kFirstFurther) return setup_.training;
    const auto further = static_cast<std::size_t>(state_.stage - kFirstFurther);
    const bool own = further < setup_.further_sequences.size() && !setup_.further_sequences[further].empty();
    return own ? setup_.further_sequences[further] : setup_.training;
  }

  Status save() {
    state_.optimizer_steps = optimizer_.steps();
    state_.cursor = source_.cursor();
    state_.log_bytes = log_->bytes();
    ++state_.number;
    const auto copy = [](std::span<const float> part) {
      return std::vector<float>(part.begin(), part.end());
    };
    Status saved =
        save_checkpoint(setup_.dir, {state_, copy(layer_.value_array()), stage_start_,
                                     copy(optimizer_.first_moment()), copy(optimizer_.second_moment())});
    since_saved_.restart();
    return saved;
  }

  Network& network_;
  StudentLayer& layer_;
  const StudentLayers& converted_;
  const TrainingSetup& setup_;
  const LayerwiseResult* layerwise_;  // null: the stage is run here
  const DistilOptions& options_;
  const std::vector<LayerStage> stages_;
  BatchSource source_;
  AdamW optimizer_;
  TrainingState state_;
  std::vector<float> stage_start_;  // the layer's values when the stage began
  std::unique_ptr<TrainingLog> log_;
  Stopwatch since_saved_;
};

}  // namespace

Result<LayerOutcome> train_layer(Network& network, StudentLayer& layer, const StudentLayers& converted,
                                 const TrainingSetup& setup, const LayerwiseResult* layerwise) {
  return LayerTraining(network, layer, converted, setup, layerwise).run();
}

}  // namespace dslad::worker
