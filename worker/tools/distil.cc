#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "worker/distill/joint_stage.h"
#include "worker/tools/options.h"
#include "worker/tools/status_line.h"
#include "worker/tools/training_session.h"

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
  if (!session.long_context.training.empty()) {
    recipe["long_context_data"] = session.long_context.description;
  }
  return recipe;
}

// The first thing in which two recipes differ, for people.
std::string difference(const nlohmann::json& before, const nlohmann::json& now) {
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
    return fmt::format("the variant was {} and is {}", session.manifest.variant.name, session.variant.name);
  }
  for (const DistilledLayer& layer : session.manifest.distilled) {
    const auto own = session.layer_variants.find(layer.layer);
    const DslaVariant& wanted = own == session.layer_variants.end() ? session.variant : own->second;
    if (session.manifest.variant_of(layer) == wanted) continue;
    return fmt::format("the variant of layer {} was {} and is {}", layer.layer,
                       session.manifest.variant_of(layer).name, wanted.name);
  }
  return {};
}

// Whether training has begun in the folder; an error where this run may neither begin nor go on.
Result<bool> check_folder(const TrainingSession& session) {
  const auto checkpoint = load_checkpoint(session.dir);
  if (!checkpoint) return checkpoint.error();
  const auto joint = load_joint_state(session.dir);
  if (!joint) return joint.error();
  const bool begun = !session.manifest_is_new &&
                     (!session.manifest.distilled.empty() || checkpoint->has_value() || joint->has_value());
  if (!begun) return false;
  if (!session.arguments.resume) {
    return Error{ErrorCode::kRefused,
                 fmt::format("{} holds a chain with {} layers already; --resume goes on with it, or "
                             "name another --out",
                             session.dir.string(), session.manifest.distilled.size())};
  }
  std::string changed = changed_variant(session);
  if (changed.empty()) changed = difference(session.manifest.recipe, recipe_of(session));
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
                 session.dir.string(), session.manifest.order_method, session.manifest.variant.name,
                 session.variant.name);
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

// Shows steps as they pass and a line for each finished layer.
class Reporter {
 public:
  Reporter(int layers, bool json) : layers_(layers), json_(json) {}

  void step(const StepReport& report, int position) {
    const std::string parts = report.stage != Stage::kLayerwise
                                  ? fmt::format(" (ce {:.4f} kl {:.4f} align {:.3g})", report.losses.ce,
                                                report.losses.kl, report.losses.align)
                                  : "";
    const double tokens = report.tokens_per_second;
    const double left = static_cast<double>(report.steps - report.step) * seconds_per_step(report);
    line_.show(fmt::format(
        "layer {} ({} of {}), {}: step {} of {}, loss {:.5g}{}, {:.0f} tokens/s, {} left in the stage",
        report.layer, position + 1, layers_, to_string(report.stage), report.step, report.steps,
        report.losses.total, parts, tokens, readable_seconds(left)));
  }

  void joint_step(const JointStep& step, double tokens_per_second) {
    const double left = static_cast<double>(step.steps - step.step) * static_cast<double>(step.tokens) /
                        std::max(1e-9, tokens_per_second);
    line_.show(
        fmt::format("{} layers at once, layerwise: step {} of {}, mean loss {:.5g}, {:.0f} tokens/s, {} left "
                    "in the stage",
                    step.layers.size(), step.step, step.steps, step.mean_loss(), tokens_per_second,
                    readable_seconds(left)));
  }

  void layer(const LayerReport& report) {
    line_.clear();
    if (json_) {
      const nlohmann::ordered_json out = {{"layer", report.layer},
                                          {"plan", report.position + 1},
                                          {"held_out_kl", report.outcome.kl},
                                          {"reached_kl", report.outcome.reached_kl},
                                          {"kl", *report.quality.kl},
                                          {"perplexity_ratio", *report.quality.perplexity_ratio},
                                          {"tokens", report.outcome.tokens}};
      fmt::print("{}\n", out.dump());
    } else {
      const bool undone = report.outcome.reached_kl != report.outcome.kl;
      fmt::print("plan {}: layer {} converted; kl {:.5f} -> {:.5f}, perplexity x{:.4f}{}\n",
                 report.position + 1, report.layer, report.outcome.kl.front(), *report.quality.kl,
                 *report.quality.perplexity_ratio, undone ? "; a stage that raised kl was undone" : "");
    }
    std::fflush(stdout);
  }

 private:
  // Smoothed over the stage's steps.
  double seconds_per_step(const StepReport& report) {
    const auto now = std::chrono::steady_clock::now();
    if (report.step == 1 || steps_ == 0) {
      began_ = now;
      steps_ = 0;
    }
    const double seconds = std::chrono::duration<double>(now - began_).count();
    return steps_++ == 0 ? 0.0 : seconds / static_cast<double>(steps_ - 1);
  }

  int layers_;
  bool json_;
  StatusLine line_;
  std::chrono::steady_clock::time_point began_;
  std::int64_t steps_ = 0;
};

}  // namespace

int distil(TrainingArguments arguments) {
  auto opened = TrainingSession::open(std::move(arguments));
  if (!opened) return fail(opened.error());
  TrainingSession& session = **opened;
  const auto stored = parse_dtype(session.arguments.stored);
  if (!stored) return fail(stored.error());
  const auto begun = check_folder(session);
  if (!begun) return fail(begun.error());
  // What lies in a folder in which nothing has begun is of no chain.
  Status status = *begun ? ok_status() : remove_joint_checkpoint(session.dir);
  if (status) status = prepare_order(session, *begun);
  if (!status) return fail(status.error());
  session.manifest.variant = session.variant;
  session.manifest.recipe = recipe_of(session);
  status = save_distilled(session.dir, session.manifest);
  if (status) status = keep_students(session);  // behind the recipe that made them
  if (!status) return fail(status.error());

  const int wanted = session.arguments.layers;
  const int layers = wanted == 0 ? session.manifest.layers : std::min(wanted, session.manifest.layers);
  Reporter reporter(layers, session.arguments.json);
  ChainSetup setup;
  setup.training = {&session.arguments.options,
                    session.data.training,
                    session.data.held_out,
                    session.long_context.training,
                    session.dir,
                    session.arguments.checkpoint_seconds,
                    [&](const StepReport& report) {
                      reporter.step(report, static_cast<int>(session.manifest.distilled.size()));
                    },
                    &TrainingSession::stop_requested(),
                    [&](const JointStep& step, double rate) { reporter.joint_step(step, rate); }};
  setup.weights = session.weights.get();
  setup.layers = layers;
  setup.stored = *stored;
  setup.layer_variants = session.layer_variants;
  setup.warm_start = session.warm_start ? &*session.warm_start : nullptr;
  setup.on_layer = [&](const LayerReport& report) { reporter.layer(report); };
  status = distil_chain(*session.backend, *session.network, setup, session.manifest);
  return status ? 0 : fail(status.error());
}

}  // namespace dslad::worker
