#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "worker/distill/joint_stage.h"
#include "worker/tools/budget_run.h"
#include "worker/tools/distil_progress.h"
#include "worker/tools/options.h"
#include "worker/tools/training_session.h"
#include "worker/tools/variant_option.h"

namespace dslad::worker {
namespace {

constexpr const char* kDefaultOrder = "kl";  // docs/quality.md: entropy orders nothing

// What a run must not change when it goes on from another.
nlohmann::json recipe_of(const TrainingSession& session) {
  nlohmann::json recipe = session.arguments.options.to_json();
  recipe["stored"] = session.arguments.stored;
  recipe["data"] = session.data.description;
  for (const auto& [layer, variant] : session.layer_variants) {
    recipe["layer_variants"][std::to_string(layer)] = variant.name;  // of layers not begun yet, too
  }
  if (session.source) recipe["from"] = session.source->description();
  if (session.warm_start) {
    for (const DistilledLayer& layer : session.warm_start->manifest.distilled) {
      recipe["warm_start"][std::to_string(layer.layer)] = layer.checksum;
    }
  }
  for (std::size_t i = 0; i < session.further.size(); ++i) {
    if (!session.further[i].training.empty()) recipe["further"][i]["data"] = session.further[i].description;
  }
  if (session.arguments.budget_ms) {  // which decides these
    for (const char* stage : {"layerwise", "chained"}) {
      for (const char* decided : {"steps", "warm_up"}) recipe[stage].erase(decided);
    }
  }
  return recipe;
}

// The first thing in which two recipes differ, for people.
std::string difference(nlohmann::json before, const nlohmann::json& now) {
  // Before stages were a list, one that was not run had its place all the same.
  constexpr const char* kOnce = "long_context";
  if (before.contains(kOnce) && before[kOnce].value("steps", 1) == 0) before.erase(kOnce);
  const auto patch = nlohmann::json::diff(before, now);
  if (patch.empty()) return "";
  const std::string path = patch.front()["path"];
  const nlohmann::json::json_pointer pointer(path);
  const auto value = [&](const nlohmann::json& in) {
    return in.contains(pointer) ? in.at(pointer).dump() : "nothing";
  };
  return fmt::format("{} was {} and is {}", path, value(before), value(now));
}

// Whether the order that is asked for is the one that the folder's layers follow.
Status check_same_order(const TrainingSession& session) {
  const std::string& wanted = session.arguments.order;
  if (wanted.empty()) return ok_status();
  const auto order = session.order_in_file(wanted);
  if (!order) return order.error();
  const bool same =
      order->has_value() ? **order == session.manifest.order : wanted == session.manifest.order_method;
  if (same) return ok_status();
  return Error{
      ErrorCode::kRefused,
      fmt::format("{} was begun in the order {} ({}), not {}; leave --order out, or name another --out",
                  session.dir.string(), fmt::join(session.manifest.order, " "), session.manifest.order_method,
                  wanted)};
}

// How the variants of the folder's layers, which other programs may have made, differ from this run's; empty
// where they do not.
std::string changed_variant(const TrainingSession& session) {
  if (!(session.manifest.variant == session.variant)) {
    return fmt::format("the variant was {} and is {}", variant_option(session.manifest.variant),
                       variant_option(session.variant));
  }
  for (const DistilledLayer& layer : session.manifest.distilled) {
    const auto own = session.layer_variants.find(layer.layer);
    const DslaVariant& wanted = own == session.layer_variants.end() ? session.variant : own->second;
    if (session.manifest.variant_of(layer) == wanted) continue;
    return fmt::format("the variant of layer {} was {} and is {}", layer.layer,
                       variant_option(session.manifest.variant_of(layer)), variant_option(wanted));
  }
  return {};
}

// Whether training has begun in the folder; an error where this run may neither begin nor go on.
Result<bool> check_folder(const TrainingSession& session, const std::optional<BudgetRecord>& budget) {
  const auto checkpoint = load_checkpoint(session.dir);
  if (!checkpoint) return checkpoint.error();
  const auto joint = load_joint_state(session.dir, Stage::kLayerwise);
  if (!joint) return joint.error();
  const bool begun = budget || (!session.manifest_is_new && (!session.manifest.distilled.empty() ||
                                                             checkpoint->has_value() || joint->has_value()));
  if (!begun) return false;
  if (!session.arguments.resume) {
    return Error{ErrorCode::kRefused,
                 fmt::format("{} holds a chain with {} layers already; --resume goes on with it, or "
                             "name another --out",
                             session.dir.string(), session.manifest.distilled.size())};
  }
  if (budget.has_value() != session.arguments.budget_ms.has_value()) {
    return Error{ErrorCode::kRefused,
                 fmt::format("{} was begun {}, or name another --out", session.dir.string(),
                             budget ? "with --budget; give it again, the time of the whole run"
                                    : "without --budget; leave it out")};
  }
  std::string changed = changed_variant(session);
  if (changed.empty())
    changed = difference(budget ? budget->recipe : session.manifest.recipe, recipe_of(session));
  if (changed.empty()) {
    const Status same = check_same_order(session);
    return same ? Result<bool>(true) : same.error();
  }
  return Error{
      ErrorCode::kRefused,
      fmt::format("{} was begun with another recipe: {}; give the same options, or name another --out",
                  session.dir.string(), changed)};
}

Status prepare_order(TrainingSession& session, bool begun) {
  const std::string& wanted = session.arguments.order;
  const bool settled = !session.manifest.order.empty();
  if (settled && (wanted.empty() || begun)) {
    if (!(session.manifest.variant == session.variant)) {
      fmt::print(stderr,
                 "warning: the order in {} was decided ({}) with variant {}, and this run trains {}; give "
                 "--order to decide it again\n",
                 session.dir.string(), session.manifest.order_method,
                 variant_option(session.manifest.variant), variant_option(session.variant));
    }
    return ok_status();
  }
  const std::string method = wanted.empty() ? kDefaultOrder : wanted;
  Status status = session.check_order(method);
  if (status) status = session.measure(method == "kl" || method == "greedy");
  return status ? session.decide_order(method) : status;
}

// What an order by divergence was just measured with is the layer-wise stage of a joint run already, where
// each layer began as the chain's does.
Status keep_students(TrainingSession& session) {
  const ConvertedAlone alone = session.take_students();
  const bool same = session.layer_variants.empty() && !session.warm_start;
  if (alone.students.empty() || !session.arguments.options.joint_layerwise || !same) return ok_status();
  TrainedLayers students;
  for (const auto& student : alone.students) students.push_back(student.get());
  return keep_joint_students(session.dir, students, alone.tokens);
}

Status train_in_steps(TrainingSession& session, ChainSetup& setup, bool begun) {
  Status status = prepare_order(session, begun);
  if (!status) return status;
  session.manifest.variant = session.variant;
  session.manifest.recipe = recipe_of(session);
  status = save_distilled(session.dir, session.manifest);
  if (status) status = keep_students(session);  // behind the recipe that made them
  return status ? distil_chain(*session.backend, *session.network, setup, session.manifest) : status;
}

Status train_within(BudgetRun& run, TrainingSession& session, ChainSetup& setup) {
  Status status = run.prepare_order(setup);
  if (status) status = distil_chain(*session.backend, *session.network, setup, session.manifest);
  const Status kept = run.close();
  if (status && kept) return run.conclude();
  return status ? kept : status;
}

// `watch`: since the program began.
Status make_chain(TrainingSession& session, const Stopwatch& watch) {
  const TrainingArguments& arguments = session.arguments;
  const auto stored = parse_dtype(arguments.stored);
  if (!stored) return stored.error();
  auto record = load_budget_record(session.dir);
  if (!record) return record.error();
  const auto begun = check_folder(session, *record);
  if (!begun) return begun.error();
  if (!*begun) {  // what lies in a folder in which nothing has begun is of no chain
    Status removed = remove_joint_checkpoint(session.dir, Stage::kLayerwise);
    if (removed) removed = remove_joint_checkpoint(session.dir, Stage::kChained);
    if (!removed) return removed;
  }
  ChainSetup setup;
  setup.training.options = &arguments.options;  // with the texts, what speed is measured on
  setup.training.training = session.data.training;
  setup.weights = session.weights.get();
  setup.layers =
      arguments.layers == 0 ? session.manifest.layers : std::min(arguments.layers, session.manifest.layers);
  if (!arguments.options.joint_plans.empty() && arguments.options.joint_plans.back() > setup.layers) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("--joint-plans: plan {} has more layers than are to be distilled, which is {}",
                             arguments.options.joint_plans.back(), setup.layers)};
  }
  setup.stored = *stored;
  setup.layer_variants = session.layer_variants;
  setup.warm_start = session.warm_start ? &*session.warm_start : nullptr;

  std::unique_ptr<BudgetRun> run;
  std::function<double()> budget_left;
  if (arguments.budget_ms) {
    auto within = BudgetRun::open(session, setup, static_cast<double>(*arguments.budget_ms) / 1e3, watch,
                                  recipe_of(session), *std::move(record));
    if (!within) return within.error();
    run = *std::move(within);
    budget_left = [&] { return run->left(); };
  }
  DistilProgress progress(setup.layers, arguments.json, budget_left);
  setup.training = {&arguments.options,
                    session.data.training,
                    session.data.held_out,
                    {},
                    session.dir,
                    arguments.checkpoint_seconds,
                    [&](const StepReport& report) {
                      progress.step(report, static_cast<int>(session.manifest.distilled.size()));
                    },
                    &TrainingSession::stop_requested(),
                    [&](const JointStep& step, double rate) { progress.joint_step(step, rate); },
                    {}};
  for (const TrainingData& data : session.further)
    setup.training.further_sequences.emplace_back(data.training);
  setup.on_layer = [&](const LayerReport& report) { progress.layer(report); };
  setup.on_plans = [&](const PlansReport& report) { progress.plans(report); };
  if (run) {
    run->attach(setup);
    return train_within(*run, session, setup);
  }
  return train_in_steps(session, setup, *begun);
}

}  // namespace

int distil(TrainingArguments arguments) {
  const Stopwatch watch;
  if (arguments.budget_ms) {
    arguments.options.joint_layerwise = true;
    if (arguments.joint_chained == 0) arguments.joint_chained = 1;
  }
  auto opened = TrainingSession::open(std::move(arguments));
  if (!opened) return fail(opened.error());
  const Status status = make_chain(**opened, watch);
  if (status) return 0;
  const bool stopped = TrainingSession::stop_requested() && status.error().message.ends_with("stopped");
  return fail(stopped ? Error{ErrorCode::kUnavailable, "stopped; --resume goes on from here"}
                      : status.error());
}

}  // namespace dslad::worker
