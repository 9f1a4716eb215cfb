#include "worker/distill/joint_chained.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <set>
#include <system_error>

#include "worker/distill/held_out.h"
#include "worker/distill/joint_checkpoint.h"
#include "worker/distill/joint_stage.h"
#include "worker/model/dsla_layer.h"

namespace dslad::worker {
namespace {

constexpr const char* kRecord = "joint_chained";  // among a layer's losses

// A layer has one of two names, so that a chain can lie beside the one that it replaces.
std::string other_name(const DistilledLayer& layer) {
  const std::string usual = layer_file_name(layer.layer);
  return layer.file == usual ? fmt::format("layer-{:02}-joint.safetensors", layer.layer) : usual;
}

class JointChained {
 public:
  JointChained(kernels::TrainingBackend& backend, Network& network, const ChainSetup& setup,
               double teacher_ce, ChainManifest& manifest)
      : backend_(backend),
        network_(network),
        setup_(setup),
        teacher_ce_(teacher_ce),
        manifest_(manifest),
        plans_(setup.training.options->joint_plans) {
    const auto layers = static_cast<int>(manifest.distilled.size());
    std::erase_if(plans_, [&](int plan) { return plan > layers; });
    if (plans_.empty()) plans_ = quarter_plans(layers);
  }

  Status run() {
    const auto before = load_students(backend_, dir(), manifest_, config());
    if (!before) return before.error();
    auto measured_before = divergences(manifest_, *before);
    if (!measured_before) return measured_before.error();
    before_ = *std::move(measured_before);
    Status trained = train(*before);
    if (!trained) return trained;
    ChainManifest candidate = manifest_;
    Status saved = save_layers(*before, candidate);
    if (!saved) return saved;
    const auto after = load_students(backend_, dir(), candidate, config());
    if (!after) return after.error();
    auto measured_after = divergences(candidate, *after);
    if (!measured_after) return measured_after.error();
    after_ = *std::move(measured_after);
    const bool undone = setup_.training.options->undo_worse && is_worse();
    if (undone) {
      candidate.distilled = manifest_.distilled;
    } else {
      Status measured = measure_plans(*after, candidate);
      if (!measured) return measured;
    }
    return publish(std::move(candidate), undone);
  }

 private:
  [[nodiscard]] const std::filesystem::path& dir() const { return setup_.training.dir; }
  [[nodiscard]] const LlamaConfig& config() const { return network_.teacher().config; }

  // `students` learn; a stage that is done already in the folder gives them what it came to.
  Status train(const Students& students) {
    TrainedLayers learning(students.size());
    std::ranges::transform(students, learning.begin(), [](const auto& student) { return student.get(); });
    Status trained = train_jointly(network_, Stage::kChained, turns_of(plans_, manifest_.order, learning),
                                   setup_.training);
    if (!trained) return trained;
    const auto state = load_joint_state(dir(), Stage::kChained);
    if (!state) return state.error();
    steps_ = (*state)->step;
    tokens_ = (*state)->tokens;
    for (const int layer : (*state)->layers) {
      StudentLayer& student = *students[static_cast<std::size_t>(layer)];
      const auto learned = load_joint_layer(dir(), **state, layer, student.value_array().size());
      if (!learned) return learned.error();
      std::ranges::copy(learned->values, student.value_array().begin());
      student.refresh();
    }
    return ok_status();
  }

  Status save_layers(const Students& students, ChainManifest& candidate) const {
    for (DistilledLayer& layer : candidate.distilled) {
      const StudentLayer& student = *students[static_cast<std::size_t>(layer.layer)];
      const auto saved = save_dsla_layer(dir(), other_name(layer), config(), student.variant(),
                                         student.tensors(), setup_.stored);
      if (!saved) return saved.error();
      layer.file = saved->file;
      layer.checksum = saved->checksum;
    }
    return ok_status();
  }

  // Of the plans that learn, in their order.
  Result<std::vector<double>> divergences(const ChainManifest& manifest, const Students& students) const {
    std::vector<double> out;
    for (const int plan : plans_) {
      const auto quality =
          plan_quality(network_, setup_.training, plan, first_layers(manifest, students, plan), teacher_ce_);
      if (!quality) return quality.error();
      out.push_back(*quality->kl);
    }
    return out;
  }

  // Each plan counts by what became of its own divergence: that of the last is a hundred times the first's.
  [[nodiscard]] bool is_worse() const {
    constexpr double kNone = 1e-9;
    double change = 0;
    for (std::size_t i = 0; i < plans_.size(); ++i) {
      change += std::log(std::max(kNone, after_[i]) / std::max(kNone, before_[i]));
    }
    return change > 0;
  }

  Status measure_plans(const Students& students, ChainManifest& candidate) const {
    candidate.plans.clear();
    for (DistilledLayer& layer : candidate.distilled) {
      const int plan = static_cast<int>(&layer - candidate.distilled.data()) + 1;
      const StudentLayers converted = first_layers(candidate, students, plan);
      auto quality = plan_quality(network_, setup_.training, plan, converted, teacher_ce_);
      if (!quality) return quality.error();
      candidate.plans.push_back(*std::move(quality));
      auto gates = gates_json(network_, setup_.training, converted, layer.layer);
      if (!gates) return gates.error();
      layer.losses["gates"] = *std::move(gates);
    }
    return ok_status();
  }

  Status publish(ChainManifest candidate, bool undone) {
    nlohmann::json record = {{"plans", plans_},
                             {"steps", steps_},
                             {"tokens", tokens_},
                             {"kl_before", before_},
                             {"kl_after", after_}};
    if (undone) record["undone"] = true;
    for (DistilledLayer& layer : candidate.distilled) layer.losses[kRecord] = record;
    Status status = save_distilled(dir(), candidate);
    if (!status) return status;
    manifest_ = std::move(candidate);
    status = drop_joint_chained(dir(), manifest_);
    if (status && setup_.on_plans) setup_.on_plans({plans_, before_, after_, undone, steps_, tokens_});
    return status;
  }

  kernels::TrainingBackend& backend_;
  Network& network_;
  const ChainSetup& setup_;
  double teacher_ce_;
  ChainManifest& manifest_;
  std::vector<int> plans_;
  std::vector<double> before_, after_;  // divergence of each of them
  std::int64_t steps_ = 0, tokens_ = 0;
};

}  // namespace

std::vector<int> quarter_plans(int layers) {
  std::set<int> plans;
  for (int quarter = 1; quarter <= 4; ++quarter) plans.insert(std::max(1, quarter * layers / 4));
  return {plans.begin(), plans.end()};
}

bool is_trained_jointly(const ChainManifest& manifest) {
  return std::ranges::all_of(manifest.distilled,
                             [](const DistilledLayer& layer) { return layer.losses.contains(kRecord); });
}

Status train_chain_jointly(kernels::TrainingBackend& backend, Network& network, const ChainSetup& setup,
                           double teacher_ce, ChainManifest& manifest) {
  return JointChained(backend, network, setup, teacher_ce, manifest).run();
}

Status drop_joint_chained(const std::filesystem::path& dir, const ChainManifest& manifest) {
  for (const DistilledLayer& layer : manifest.distilled) {
    std::error_code failed;  // a file that stays costs room, and nothing else
    std::filesystem::remove(dir / other_name(layer), failed);
  }
  return remove_joint_checkpoint(dir, Stage::kChained);
}

}  // namespace dslad::worker
