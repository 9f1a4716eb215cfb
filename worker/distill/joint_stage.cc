#include "worker/distill/joint_stage.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "worker/distill/stopwatch.h"

namespace dslad::worker {
namespace {

class JointStage {
 public:
  JointStage(Network& network, Stage stage, std::vector<JointTurn> turns, const TrainingSetup& setup)
      : setup_(setup), training_(network, stage, std::move(turns), *setup.options, setup.training) {
    state_.stage = stage;
    for (const auto& [layer, student] : training_.students()) state_.layers.push_back(layer);
  }

  Status run() {
    Status status = begin();
    while (status && !state_.done && !training_.done()) {
      if (setup_.stop != nullptr && *setup_.stop) return stop();
      if (setup_.ends_early) {
        const auto ends = setup_.ends_early(training_.stage(), training_.steps_done());
        if (!ends) return ends.error();
        if ((ended_ = *ends)) break;
      }
      status = step();
      if (status && is_due()) status = save();
    }
    return status && !state_.done ? save() : status;
  }

 private:
  Status stop() {
    Status saved = save();
    return saved ? Status(Error{ErrorCode::kUnavailable, "stopped; --resume goes on from here"}) : saved;
  }

  // A checkpoint holds all layers: it may take a tenth of the time and no more.
  [[nodiscard]] bool is_due() const {
    return since_saved_.seconds() >= std::max(setup_.checkpoint_seconds, 10 * saving_seconds_);
  }

  Status begin() {
    auto found = load_joint_state(setup_.dir, state_.stage);
    if (!found) return found.error();
    const bool mine =
        found->has_value() && (*found)->stage == state_.stage && (*found)->layers == state_.layers;
    if (mine) {
      Status restored = restore(**found);
      if (!restored || state_.done) return restored;
    } else if (found->has_value()) {
      state_.number = (*found)->number;  // its files are replaced one after the other
    }
    const auto path = setup_.dir / "log.jsonl";
    auto log = TrainingLog::open(path, mine ? state_.log_bytes : TrainingLog::size(path));
    if (!log) return log.error();
    log_ = std::make_unique<TrainingLog>(*std::move(log));
    // Before the first line, so that a run killed before its next checkpoint leaves none behind.
    return mine ? ok_status() : save();
  }

  Status restore(const JointState& state) {
    state_ = state;
    if (state.done) return ok_status();  // what was learned stays in the folder
    training_.seek(state.step, state.tokens, state.cursor);
    for (const int layer : state.layers) {
      const std::size_t parameters = training_.students().at(layer)->value_array().size();
      const auto loaded = load_joint_layer(setup_.dir, state, layer, parameters);
      if (!loaded) return loaded.error();
      training_.restore_layer(layer, loaded->values, loaded->first_moment, loaded->second_moment);
    }
    return ok_status();
  }

  Status step() {
    const Stopwatch watch;
    const auto step = training_.step();
    if (!step) {
      if (step.error().code == ErrorCode::kUnavailable) return stop();
      return step.error().with_context(
          fmt::format("stage {} stopped, its last good checkpoint stays", to_string(training_.stage())));
    }
    const double rate = static_cast<double>(step->tokens) / std::max(1e-9, watch.seconds());
    if (setup_.on_joint_step) setup_.on_joint_step(*step, rate);
    const auto line = [&](nlohmann::ordered_json of, const nlohmann::ordered_json& losses) {
      of.update({{"stage", to_string(step->stage)}, {"step", step->step}, {"steps", step->steps}});
      of.update(losses);
      of.update({{"rate", step->rate}, {"tokens", step->tokens}, {"tokens_per_second", std::round(rate)}});
      return log_->append(of);
    };
    if (step->stage == Stage::kChained) {
      const Losses& of_plan = step->losses;
      return line({{"plan", step->plan}}, {{"loss", of_plan.total}, {"ce", of_plan.ce}, {"kl", of_plan.kl}});
    }
    for (const auto& [layer, its] : step->layers) {
      Status logged = line({{"layer", layer}}, {{"loss", its.loss}, {"gradient_norm", its.gradient_norm}});
      if (!logged) return logged;
    }
    return ok_status();
  }

  Status save() {
    const Stopwatch watch;
    state_.done = ended_ || training_.done();
    state_.step = training_.steps_done();
    state_.tokens = training_.tokens();
    state_.cursor = training_.cursor();
    state_.log_bytes = log_->bytes();
    ++state_.number;
    std::map<int, JointLayer> layers;
    for (const auto& [layer, optimizer] : training_.optimizers()) {
      JointLayer& its = layers[layer];
      its.values = training_.students().at(layer)->value_array();
      if (state_.done) continue;
      its.first_moment = optimizer.first_moment();
      its.second_moment = optimizer.second_moment();
    }
    Status saved = save_joint_checkpoint(setup_.dir, state_, layers);
    saving_seconds_ = watch.seconds();
    since_saved_.restart();
    return saved;
  }

  const TrainingSetup& setup_;
  JointTraining training_;
  JointState state_;
  std::unique_ptr<TrainingLog> log_;
  bool ended_ = false;  // by the setup, before its steps were done
  Stopwatch since_saved_;
  double saving_seconds_ = 0;  // that the last checkpoint took
};

}  // namespace

Status train_jointly(Network& network, Stage stage, std::vector<JointTurn> turns,
                     const TrainingSetup& setup) {
  return JointStage(network, stage, std::move(turns), setup).run();
}

Status keep_joint_students(const std::filesystem::path& dir, const TrainedLayers& students,
                           std::int64_t tokens) {
  JointState state;
  state.done = true;
  state.tokens = tokens;
  state.number = 1;
  std::map<int, JointLayer> layers;
  for (const StudentLayer* const student : students) {
    if (student == nullptr) continue;
    state.layers.push_back(student->layer());
    layers[student->layer()].values = student->value_array();
  }
  return save_joint_checkpoint(dir, state, layers);
}

}  // namespace dslad::worker
