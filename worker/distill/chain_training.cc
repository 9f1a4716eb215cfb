#include "worker/distill/chain_training.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <span>

#include "worker/distill/chain_students.h"
#include "worker/distill/held_out.h"
#include "worker/distill/joint_chained.h"
#include "worker/distill/joint_checkpoint.h"
#include "worker/model/dsla_layer.h"

namespace dslad::worker {
namespace {

// 10%, 50% and 90% of the channels' mean gates lie below these.
nlohmann::json quantiles(std::span<const double> of) {
  std::vector<double> gates(of.begin(), of.end());
  std::ranges::sort(gates);
  const auto at = [&](double share) {
    return gates[static_cast<std::size_t>(share * static_cast<double>(gates.size() - 1))];
  };
  return {{"low", at(0.1)}, {"median", at(0.5)}, {"high", at(0.9)}};
}

nlohmann::json losses_json(const LayerOutcome& outcome, const DistilOptions& options) {
  nlohmann::json out = {{"initialised", {{"kl", outcome.kl.front()}, {"ce", outcome.ce.front()}}}};
  std::size_t measured = 1;
  for (const LayerStage& stage : options.stages()) {
    if (!stage.is_for(outcome.kl[measured - 1])) continue;
    nlohmann::json& losses = out[stage.name];
    losses = {{"kl", outcome.kl[measured]}, {"ce", outcome.ce[measured]}};
    const double reached = outcome.reached_kl[measured];
    if (reached != outcome.kl[measured]) losses["undone_kl"] = reached;
    ++measured;
  }
  out["tokens"] = outcome.tokens;
  return out;
}

Result<LayerOutcome> train_and_save(kernels::TrainingBackend& backend, Network& network,
                                    const ChainSetup& setup, int layer, const Students& students,
                                    ChainManifest& manifest) {
  const LlamaConfig& config = network.teacher().config;
  auto first = first_student(backend, config, setup, layer, manifest);
  if (!first) return first.error();
  StudentLayer& student = *first->student;
  std::optional<LayerwiseResult> layerwise;
  const auto checkpoint = load_checkpoint(setup.training.dir);
  if (!checkpoint) return checkpoint.error();
  const bool is_past = *checkpoint && (*checkpoint)->state.layer == layer && (*checkpoint)->state.stage > 0;
  if (setup.training.options->joint_layerwise && !is_past) {
    auto joint = joint_result(backend, network, setup, student, manifest);
    if (!joint) return joint.error();
    layerwise = *std::move(joint);
  }
  const StudentLayers converted =
      first_layers(manifest, students, static_cast<int>(manifest.distilled.size()));
  const auto outcome =
      train_layer(network, student, converted, setup.training, layerwise ? &*layerwise : nullptr);
  if (!outcome) return outcome.error();
  const auto saved = save_dsla_layer(setup.training.dir, layer_file_name(layer), config, student.variant(),
                                     student.tensors(), setup.stored);
  if (!saved) return saved.error();
  DistilledLayer made = planned(setup, layer);
  made.file = saved->file;
  made.checksum = saved->checksum;
  made.losses = losses_json(*outcome, *setup.training.options);
  if (!first->started_from.is_null()) made.losses["started_from"] = std::move(first->started_from);
  manifest.distilled.push_back(std::move(made));
  return *outcome;
}

// What `layer` is trained by; nothing where it is not to be begun. Errors: those of asking; the teacher's
// files are others by now.
Result<std::optional<DistilOptions>> options_of(const ChainSetup& setup, int layer) {
  const Status unchanged = setup.weights->check_unchanged();
  if (!unchanged) return unchanged.error();
  DistilOptions options = *setup.training.options;
  if (options.joint_chained) options.chained.set_steps(0);  // which is to come, of all layers at once
  if (!setup.chained_stage) return std::optional(options);
  const auto stage = setup.chained_stage(layer);
  if (!stage) return stage.error();
  if (!stage->has_value()) return std::optional<DistilOptions>();
  options.chained = **stage;
  return std::optional(options);
}

// The chained stage of all layers at once, where there is one and it has not been run.
Status finish_jointly(kernels::TrainingBackend& backend, Network& network, const ChainSetup& setup,
                      double teacher_ce, ChainManifest& manifest) {
  DistilOptions options = *setup.training.options;
  if (!options.joint_chained || manifest.distilled.empty()) return ok_status();
  if (is_trained_jointly(manifest)) return drop_joint_chained(setup.training.dir, manifest);
  if (setup.joint_chained_stage) {
    const auto stage = setup.joint_chained_stage();
    if (!stage) return stage.error();
    if (!stage->has_value()) return ok_status();
    options.chained = **stage;
  }
  if (options.chained.steps == 0) return ok_status();
  ChainSetup its = setup;
  its.training.options = &options;
  return train_chain_jointly(backend, network, its, teacher_ce, manifest);
}

// Removes what a joint layer-wise stage left once every one of its layers is a layer of the chain.
Status drop_joint_stage(const std::filesystem::path& dir, const ChainManifest& manifest) {
  const auto state = load_joint_state(dir, Stage::kLayerwise);
  if (!state) return state.error();
  if (!state->has_value())
    return remove_joint_checkpoint(dir, Stage::kLayerwise);  // what a kill has left of one
  const bool to_come = std::ranges::any_of((*state)->layers, [&](int layer) {
    return std::ranges::find(manifest.distilled, layer, &DistilledLayer::layer) == manifest.distilled.end();
  });
  return to_come ? ok_status() : remove_joint_checkpoint(dir, Stage::kLayerwise);
}

// Whether the folder's layers are the manifest's first ones.
bool precedes(const ChainManifest& stored, const ChainManifest& manifest) {
  const auto [here, there] = std::ranges::mismatch(stored.distilled, manifest.distilled);
  return here == stored.distilled.end();
}

// Plans as they are stored; those that are not come from the manifest.
void take_plans(const ChainManifest& stored, ChainManifest& manifest) {
  std::vector<PlanQuality> plans = stored.plans;
  for (PlanQuality& plan : manifest.plans) {
    if (stored.quality_of(plan.plan) == nullptr) plans.push_back(std::move(plan));
  }
  std::ranges::sort(plans, {}, &PlanQuality::plan);
  manifest.plans = std::move(plans);
}

}  // namespace

const DistilledLayer* LearnedChain::layer(int layer) const {
  const auto found = std::ranges::find(manifest.distilled, layer, &DistilledLayer::layer);
  return found == manifest.distilled.end() ? nullptr : &*found;
}

Status save_distilled(const std::filesystem::path& dir, ChainManifest& manifest) {
  return update_chain_manifest(dir, [&](const Result<ChainManifest>& stored) -> Result<ChainManifest> {
    if (stored && precedes(*stored, manifest)) take_plans(*stored, manifest);
    return manifest;
  });
}

Result<Students> load_students(kernels::TrainingBackend& backend, const std::filesystem::path& dir,
                               const ChainManifest& manifest, const LlamaConfig& config) {
  Students students(static_cast<std::size_t>(config.layers));
  for (const DistilledLayer& layer : manifest.distilled) {
    const DslaVariant& variant = manifest.variant_of(layer);
    const auto tensors = load_dsla_layer(dir, layer, config, variant);
    if (!tensors) return tensors.error();
    auto student = StudentLayer::create(backend, config, layer.layer, variant, *tensors);
    if (!student) return student.error();
    students[static_cast<std::size_t>(layer.layer)] = *std::move(student);
  }
  return students;
}

StudentLayers first_layers(const ChainManifest& manifest, const Students& students, int plan) {
  StudentLayers out(students.size());
  for (const DistilledLayer& layer : std::span(manifest.distilled).first(static_cast<std::size_t>(plan))) {
    const auto at = static_cast<std::size_t>(layer.layer);
    out[at] = students[at].get();
  }
  return out;
}

Result<PlanQuality> plan_quality(Network& network, const TrainingSetup& setup, int plan,
                                 const StudentLayers& converted, double teacher_ce) {
  const auto losses = held_out_losses(network, setup.held_out, setup.options->batch_tokens, converted);
  if (!losses) return losses.error();
  PlanQuality quality;
  quality.plan = plan;
  quality.kl = std::max(0.0, losses->kl);
  quality.perplexity_ratio = std::exp(losses->ce - teacher_ce);
  return quality;
}

Result<nlohmann::json> gates_json(Network& network, const TrainingSetup& setup,
                                  const StudentLayers& converted, int layer) {
  const auto gates = network.mean_gates(setup.held_out.front(), converted, layer);
  if (!gates) return gates.error();
  const auto states = static_cast<std::size_t>(converted[static_cast<std::size_t>(layer)]->shape().states);
  const std::size_t of_state = gates->size() / states;
  const std::span<const double> all(*gates);
  nlohmann::json out = {{"history", quantiles(all.first(of_state))}};
  if (states == 2) out["recency"] = quantiles(all.subspan(of_state));
  return out;
}

Status distil_chain(kernels::TrainingBackend& backend, Network& network, const ChainSetup& setup,
                    ChainManifest& manifest) {
  const LlamaConfig& config = network.teacher().config;
  const std::filesystem::path& dir = setup.training.dir;
  auto students = load_students(backend, dir, manifest, config);
  if (!students) return students.error();
  const auto teacher = held_out_losses(network, setup.training.held_out, setup.training.options->batch_tokens,
                                       StudentLayers(students->size()));
  if (!teacher) return teacher.error();

  while (static_cast<int>(manifest.distilled.size()) < setup.layers) {
    if (setup.training.stop != nullptr && *setup.training.stop)
      return Error{ErrorCode::kUnavailable, "stopped; --resume goes on from here"};
    const int position = static_cast<int>(manifest.distilled.size());
    const int layer = manifest.order[static_cast<std::size_t>(position)];
    const auto options = options_of(setup, layer);
    if (!options) return options.error();
    if (!options->has_value()) break;
    ChainSetup its = setup;
    its.training.options = &**options;
    auto outcome = train_and_save(backend, network, its, layer, *students, manifest);
    if (!outcome) return outcome.error();
    auto reloaded = load_students(backend, dir, manifest, config);
    if (!reloaded) return reloaded.error();
    *students = *std::move(reloaded);
    const StudentLayers converted = first_layers(manifest, *students, position + 1);
    auto quality = plan_quality(network, setup.training, position + 1, converted, teacher->ce);
    if (!quality) return quality.error();
    const auto gates = gates_json(network, setup.training, converted, layer);
    if (!gates) return gates.error();
    manifest.distilled.back().losses["gates"] = *gates;
    manifest.plans.push_back(*quality);
    Status status = save_distilled(dir, manifest);
    if (status) status = remove_checkpoint(dir);
    if (!status) return status;
    if (setup.on_layer) setup.on_layer({layer, position, *std::move(outcome), *std::move(quality)});
  }
  const Status dropped = drop_joint_stage(dir, manifest);
  return dropped ? finish_jointly(backend, network, setup, teacher->ce, manifest) : dropped;
}

}  // namespace dslad::worker
