#include "worker/distill/chain_students.h"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

#include "worker/distill/held_out.h"
#include "worker/distill/joint_stage.h"
#include "worker/distill/warm_start.h"
#include "worker/model/dsla_layer.h"

namespace dslad::worker {
namespace {

// What training of `layer` starts from; where another chain's layer is part of that, `started_from` says how
// that was trained.
Result<DslaLayerTensors> first_values(const ChainSetup& setup, const LlamaConfig& config, int layer,
                                      const DslaVariant& variant, nlohmann::json& started_from) {
  const DistilledLayer* start = setup.warm_start == nullptr ? nullptr : setup.warm_start->layer(layer);
  if (start == nullptr) return initial_dsla_layer(*setup.weights, config, layer, variant);
  const DslaVariant& learned_variant = setup.warm_start->manifest.variant_of(*start);
  const Status fits = check_warm_start(learned_variant, variant);
  if (!fits) return fits.error().with_context(fmt::format("layer {}", layer));
  auto learned = load_dsla_layer(setup.warm_start->dir, *start, config, learned_variant);
  if (learned) started_from = start->losses;
  return learned;
}

// The layer-wise stage of `students`, beside each other.
Status learn_together(Network& network, const ChainSetup& setup, const Students& students) {
  return train_jointly(network, Stage::kLayerwise, {{0, by_layer(students, network.teacher().config.layers)}},
                       setup.training);
}

}  // namespace

DistilledLayer planned(const ChainSetup& setup, int layer) {
  DistilledLayer made;
  made.layer = layer;
  const auto own = setup.layer_variants.find(layer);
  if (own != setup.layer_variants.end()) made.variant = own->second;
  return made;
}

Result<FirstStudent> first_student(kernels::TrainingBackend& backend, const LlamaConfig& config,
                                   const ChainSetup& setup, int layer, const ChainManifest& manifest) {
  FirstStudent out;
  const DistilledLayer made = planned(setup, layer);
  const DslaVariant& variant = manifest.variant_of(made);
  const auto initial = first_values(setup, config, layer, variant, out.started_from);
  if (!initial) return initial.error();
  auto student = StudentLayer::create(backend, config, layer, variant, *initial);
  if (!student) return student.error();
  out.student = *std::move(student);
  return out;
}

Result<Students> first_students(kernels::TrainingBackend& backend, const LlamaConfig& config,
                                const ChainSetup& setup, std::span<const int> layers,
                                const ChainManifest& manifest) {
  Students students;
  for (const int layer : layers) {
    auto first = first_student(backend, config, setup, layer, manifest);
    if (!first) return first.error();
    students.push_back(std::move(first->student));
  }
  return students;
}

TrainedLayers by_layer(const Students& students, int layers) {
  TrainedLayers out(static_cast<std::size_t>(layers));
  for (const auto& student : students) out[static_cast<std::size_t>(student->layer())] = student.get();
  return out;
}

Result<LayerwiseResult> joint_result(kernels::TrainingBackend& backend, Network& network,
                                     const ChainSetup& setup, const StudentLayer& student,
                                     const ChainManifest& manifest) {
  const std::filesystem::path& dir = setup.training.dir;
  auto state = load_joint_state(dir, Stage::kLayerwise);
  if (!state) return state.error();
  const bool begun = state->has_value() && (*state)->has(student.layer());
  if (!begun || !(*state)->done) {
    const std::size_t made = manifest.distilled.size();
    const auto to_come =
        std::span(manifest.order).subspan(made, static_cast<std::size_t>(setup.layers) - made);
    const auto students = first_students(backend, network.teacher().config, setup,
                                         begun ? std::span<const int>((*state)->layers) : to_come, manifest);
    if (!students) return students.error();
    const Status learned = learn_together(network, setup, *students);
    if (!learned) return learned.error();
    state = load_joint_state(dir, Stage::kLayerwise);
    if (!state) return state.error();
  }
  auto learned = load_joint_layer(dir, **state, student.layer(), student.value_array().size());
  if (!learned) return learned.error();
  return LayerwiseResult{std::move(learned->values), (*state)->tokens};
}

Result<ConvertedAlone> convert_jointly(kernels::TrainingBackend& backend, Network& network,
                                       const ChainSetup& setup, const ChainManifest& manifest) {
  const LlamaConfig& config = network.teacher().config;
  const Status unchanged = setup.weights->check_unchanged();
  if (!unchanged) return unchanged.error();
  std::vector<int> layers(static_cast<std::size_t>(config.layers));
  std::iota(layers.begin(), layers.end(), 0);
  auto students = first_students(backend, config, setup, layers, manifest);
  if (!students) return students.error();
  const Status learned = learn_together(network, setup, *students);
  if (!learned) return learned.error();
  const auto state = load_joint_state(setup.training.dir, Stage::kLayerwise);
  if (!state) return state.error();
  ConvertedAlone out;
  out.tokens = (*state)->tokens;
  StudentLayers alone;
  for (const auto& student : *students) {
    const auto values =
        load_joint_layer(setup.training.dir, **state, student->layer(), student->value_array().size());
    if (!values) return values.error();
    std::ranges::copy(values->values, student->value_array().begin());
    student->refresh();
    alone.push_back(student.get());
  }
  const auto losses = held_out_losses_alone(network, setup.training.held_out,
                                            setup.training.options->batch_tokens, alone, setup.training.stop);
  if (setup.training.stop != nullptr && *setup.training.stop) {
    return Error{ErrorCode::kUnavailable, "stopped; --resume goes on from here"};
  }
  if (!losses) return losses.error();
  for (const Losses& of_layer : *losses) out.kl.push_back(std::max(0.0, of_layer.kl));
  out.students = *std::move(students);
  return out;
}

}  // namespace dslad::worker
