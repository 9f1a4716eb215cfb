#include "worker/tools/budget_run.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "worker/distill/chain_students.h"
#include "worker/tools/speed_probe.h"
#include "worker/tools/status_line.h"

namespace dslad::worker {
namespace {

// Of a layer: as it starts, after each of two stages, and as it is stored.
constexpr double kMeasurements = 4;
constexpr double kLeastFactor = 0.1;  // a coarse clock's zero would stay one
constexpr double kSafety = 1.25;      // of a budget that is proposed
// Of the budget, at most, for the layer-wise stage, where all layers then learn at once: that gains more.
constexpr double kJointShare = 0.25;

// As the option takes it: "0.4s", "55s" or "12m", not less than `seconds`.
std::string proposed(double seconds) {
  if (seconds < 10) return fmt::format("{:.1f}s", std::ceil(seconds * 10) / 10);
  return seconds < 120 ? fmt::format("{:.0f}s", std::ceil(seconds))
                       : fmt::format("{:.0f}m", std::ceil(seconds / 60));
}

// Of `sequences` those that stand for all of them, of so many tokens together.
std::vector<TrainingBatch> chosen(std::vector<TrainingBatch> sequences, double tokens) {
  std::vector<std::int64_t> rows(sequences.size());
  std::ranges::transform(sequences, rows.begin(), &TrainingBatch::rows);
  std::vector<TrainingBatch> out;
  for (const std::size_t index : representatives(rows, tokens)) out.push_back(std::move(sequences[index]));
  return out;
}

double tokens_of(const std::vector<TrainingBatch>& sequences) {
  double tokens = 0;
  for (const TrainingBatch& sequence : sequences) tokens += static_cast<double>(sequence.rows());
  return tokens;
}

}  // namespace

BudgetRun::BudgetRun(TrainingSession& session, int layers, double seconds, const Stopwatch& watch)
    : session_(session),
      seconds_(seconds),
      watch_(watch),
      costs_(pass_costs(session.network->teacher().config)),
      layers_(layers),
      step_tokens_(static_cast<double>(session.arguments.options.batch_tokens *
                                       session.arguments.options.accumulation)) {
  if (is_joint()) limits_.joint_share = kJointShare;
}

Result<std::unique_ptr<BudgetRun>> BudgetRun::open(TrainingSession& session, const ChainSetup& setup,
                                                   double seconds, const Stopwatch& watch,
                                                   nlohmann::json recipe,
                                                   std::optional<BudgetRecord> record) {
  std::unique_ptr<BudgetRun> run(new BudgetRun(session, setup.layers, seconds, watch));
  if (record) {
    run->used_before_ = record->used;
    run->record_ = *std::move(record);
  } else {
    const Status begun = run->begin(setup, std::move(recipe));
    if (!begun) return begun.error();
  }
  session.arguments.options.layerwise.set_steps(run->record_.layerwise.steps);
  session.data.held_out =
      chosen(std::move(session.data.held_out), static_cast<double>(run->record_.held_out));
  run->held_out_tokens_ = tokens_of(session.data.held_out);
  return run;
}

Status BudgetRun::begin(const ChainSetup& setup, nlohmann::json recipe) {
  const auto speed = measure_speed(*session_.backend, *session_.network, setup, session_.manifest, seconds_);
  if (!speed) return speed.error();
  record_.joint_step = speed->joint * step_tokens_;
  record_.pass = speed->pass;
  const FirstMeasures measures = foreseen();
  const std::int64_t held_out = session_.data.held_out_tokens;
  const double least = least_budget(used(), measures, held_out, limits_);
  if (least > seconds_) {
    return Error{
        ErrorCode::kRefused,
        fmt::format("a budget of {} is too small here: by the speed just measured ({:.0f} tokens/s in a "
                    "step of all layers at once) a first layer is done after {}; give --budget {} or more",
                    readable_seconds(seconds_), 1 / speed->joint, readable_seconds(least),
                    proposed(least * kSafety))};
  }
  const FirstAllotment allotted =
      first_allotment(seconds_, used(), measures, setup.layers, held_out, limits_);
  record_.recipe = std::move(recipe);
  record_.layerwise.steps = allotted.joint_steps;
  record_.held_out = allotted.held_out;
  fmt::print(
      stderr,
      "{:.0f} tokens/s in a step of all layers at once: {} such steps, then the order, by {} of {} held-out "
      "tokens, then layers until the budget of {} is spent\n",
      1 / speed->joint, allotted.joint_steps, allotted.held_out, held_out, readable_seconds(seconds_));
  return save();
}

FirstMeasures BudgetRun::foreseen() const {
  const int middle = costs_.layers / 2;
  return {record_.joint_step, record_.pass * costs_.alone(),
          kMeasurements * record_.pass * costs_.held_out(middle / 2),
          record_.pass * step_tokens_ * costs_.chained(middle / 2, middle)};
}

void BudgetRun::attach(ChainSetup& setup) {
  setup.chained_stage = [this](int layer) { return chained_stage(layer); };
  setup.joint_chained_stage = [this] { return joint_chained_stage(); };
  setup.training.ends_early = [this](Stage stage, std::int64_t done) { return ends_early(stage, done); };
  setup.training.on_step = [this, next = std::move(setup.training.on_step)](const StepReport& report) {
    heard(report);
    if (next) next(report);
  };
  setup.training.on_joint_step = [this, next = std::move(setup.training.on_joint_step)](const JointStep& step,
                                                                                        double rate) {
    heard(step, rate);
    if (next) next(step, rate);
  };
  setup.on_layer = [this, next = std::move(setup.on_layer)](const LayerReport& report) {
    heard(report);
    if (next) next(report);
  };
}

Status BudgetRun::prepare_order(const ChainSetup& setup) {
  ChainManifest& manifest = session_.manifest;
  if (!session_.manifest_is_new && manifest.recipe.contains("budget")) return ok_status();
  manifest.variant = session_.variant;
  const auto alone = convert_jointly(*session_.backend, *session_.network, setup, manifest);
  if (!alone) return alone.error();
  measuring_factor_ = since_joint_.seconds() / (record_.pass * held_out_tokens_ * costs_.alone());
  Status decided = session_.decide_order_by(alone->kl);
  if (!decided) return decided;
  note_decisions();
  decided = save_distilled(session_.dir, manifest);
  return decided ? save() : decided;
}

Status BudgetRun::conclude() const {
  const ChainManifest& manifest = session_.manifest;
  if (manifest.distilled.empty()) {
    const auto costs = to_come();
    const double more = costs.front().other;
    return Error{
        ErrorCode::kRefused,
        fmt::format("the budget of {} does not suffice for a layer any more: it took {} until here, and a "
                    "layer takes {}; --resume with --budget {} or more goes on",
                    readable_seconds(seconds_), readable_seconds(used()), readable_seconds(more),
                    proposed(used() + more * kSafety))};
  }
  const bool all = static_cast<int>(manifest.distilled.size()) == manifest.layers;
  fmt::print(stderr, "{} of {} layers in {}{}\n", manifest.distilled.size(), manifest.layers,
             readable_seconds(used()), all ? "" : "; --resume with a longer --budget adds others");
  return ok_status();
}

Status BudgetRun::save() {
  if (record_.layerwise.steps == 0) return ok_status();  // nothing has been decided
  record_.used = used();
  since_saved_.restart();
  return save_budget_record(session_.dir, record_);
}

// Time that is needed after a stage's last step.
double BudgetRun::closing(Stage stage) const {
  if (at_once_) return joint_measuring_seconds();
  if (stage != Stage::kLayerwise) return measuring_seconds(first_) / 2;
  return record_.pass * held_out_tokens_ * costs_.alone() + measuring_seconds(costs_.layers / 2);
}

double BudgetRun::step_seconds(Stage stage) const {
  return stage == Stage::kLayerwise ? record_.joint_step
                                    : record_.pass * step_tokens_ * costs_.chained(first_, layer_);
}

double BudgetRun::measuring_seconds(int first) const {
  return measuring_factor_ * kMeasurements * record_.pass * held_out_tokens_ * costs_.held_out(first);
}

// After the chained stage of all layers at once: every plan, and those that learned once more.
double BudgetRun::joint_measuring_seconds() const {
  constexpr double kPlansThatLearn = 4;
  const auto plans = static_cast<double>(session_.manifest.distilled.size());
  return (plans + kPlansThatLearn) / kMeasurements * measuring_seconds(first_);
}

std::vector<LayerCost> BudgetRun::to_come() const {
  const ChainManifest& manifest = session_.manifest;
  std::vector<LayerCost> out;
  int first = costs_.layers;
  for (std::size_t position = 0; position < static_cast<std::size_t>(layers_); ++position) {
    const int layer = manifest.order[position];
    first = std::min(first, layer);
    if (position < manifest.distilled.size()) continue;
    out.push_back({record_.pass * step_tokens_ * costs_.chained(first, layer), measuring_seconds(first)});
  }
  return out;
}

StageOptions BudgetRun::stage_of(std::int64_t steps) const {
  StageOptions stage = session_.arguments.options.chained;
  stage.set_steps(steps);
  const double share = rate_share(steps, limits_);
  stage.rate *= share;
  stage.lowest_rate *= share;
  return stage;
}

Result<std::optional<StageOptions>> BudgetRun::chained_stage(int layer) {
  layer_ = layer;
  first_ = layer;
  for (const DistilledLayer& made : session_.manifest.distilled) first_ = std::min(first_, made.layer);
  since_begun_.restart();
  in_steps_ = 0;
  const auto begun = record_.chained.find(layer);
  begun_here_ = begun == record_.chained.end();
  if (!begun_here_) return std::optional(stage_of(begun->second.steps));
  auto steps = chained_steps(seconds_, used(), to_come(), limits_);
  if (!steps) return std::optional<StageOptions>();
  if (is_joint()) steps = 0;  // to come, of all layers at once
  record_.chained[layer].steps = *steps;
  note_decisions();
  const Status saved = save();
  if (!saved) return saved.error();
  return std::optional(stage_of(*steps));
}

Result<std::optional<StageOptions>> BudgetRun::joint_chained_stage() {
  at_once_ = true;
  first_ = costs_.layers;
  for (const DistilledLayer& made : session_.manifest.distilled) first_ = std::min(first_, made.layer);
  layer_ = first_;
  const auto layers = static_cast<int>(session_.manifest.distilled.size());
  if (record_.joint_layers != layers) record_.joint_chained.reset();  // more time has brought more of them
  if (!record_.joint_chained) {
    const std::int64_t steps = joint_chained_steps(seconds_, used(), step_seconds(Stage::kChained),
                                                   joint_measuring_seconds(), limits_);
    if (steps == 0) return std::optional<StageOptions>();
    record_.joint_chained = DecidedSteps{steps, {}};
    record_.joint_layers = layers;
    note_decisions();
    const Status saved = save();
    if (!saved) return saved.error();
  }
  return std::optional(stage_of(record_.joint_chained->steps));
}

DecidedSteps& BudgetRun::decided(Stage stage) {
  if (stage == Stage::kLayerwise) return record_.layerwise;
  return at_once_ ? *record_.joint_chained : record_.chained[layer_];
}

Result<bool> BudgetRun::ends_early(Stage stage, std::int64_t done) {
  DecidedSteps& decided = this->decided(stage);
  if (decided.ended_at) return done >= *decided.ended_at;
  const bool ends = !time_for_step(seconds_, used(), step_seconds(stage), closing(stage));
  if (ends) {
    decided.ended_at = done;
    note_decisions();
  } else if (since_saved_.seconds() < session_.arguments.checkpoint_seconds) {
    return false;
  }
  const Status saved = save();
  if (!saved) return saved.error();
  return ends;
}

void BudgetRun::heard(const StepReport& report) {
  if (report.loss != Stage::kChained) return;
  const double token_seconds = 1 / std::max(1e-9, report.tokens_per_second);
  record_.pass = token_seconds / costs_.chained(first_, layer_);
  in_steps_ += static_cast<double>(report.tokens) * token_seconds;
  heard_tokens(report.tokens);
}

void BudgetRun::heard(const JointStep& step, double tokens_per_second) {
  if (step.stage == Stage::kChained) {
    const int lowest = step.layers.begin()->first;
    record_.pass = 1 / std::max(1e-9, tokens_per_second) / costs_.joint_chained(lowest);
    heard_tokens(step.tokens);
    return;
  }
  const double before = record_.joint_step;
  record_.joint_step = static_cast<double>(step.tokens) / std::max(1e-9, tokens_per_second);
  if (before > 0) record_.pass *= record_.joint_step / before;  // what slows one kind of step slows all
  heard_tokens(step.tokens);
  since_joint_.restart();
}

void BudgetRun::heard_tokens(std::int64_t tokens) {
  const auto before = static_cast<double>(steps_++);
  step_tokens_ = (before * step_tokens_ + static_cast<double>(tokens)) / (before + 1);
}

void BudgetRun::heard(const LayerReport&) {
  if (!begun_here_) return;  // some of it was another process' work
  const double foreseen = measuring_seconds(first_) / measuring_factor_;
  measuring_factor_ = std::max(kLeastFactor, (since_begun_.seconds() - in_steps_) / std::max(1e-9, foreseen));
}

// In the recipe that the chain is stored with.
void BudgetRun::note_decisions() {
  session_.manifest.recipe = record_.recipe;
  session_.manifest.recipe["budget"] = record_.decisions();
}

}  // namespace dslad::worker
