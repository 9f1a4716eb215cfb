// Distils a chain layer by layer, in its conversion order, and keeps its folder true at every moment.
//
// After each layer its file, then chain.json are replaced atomically; a run that was killed goes on from
// there or from the checkpoint beside them. Predecessors are read back from their files: what trains on top
// of them sees exactly what serving will. Thread safety: one caller at a time, one that distils in a folder.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "worker/distill/layer_training.h"
#include "worker/model/chain.h"
#include "worker/model/weight_files.h"

namespace dslad::worker {

struct LayerReport {
  int layer = 0, position = 0;
  LayerOutcome outcome;
  PlanQuality quality;  // of the plan that ends with this layer, on the held-out sequences
};

// What the chained stage of all layers at once came to.
struct PlansReport {
  std::vector<int> plans;             // that learned
  std::vector<double> before, after;  // their divergence, held out, nats
  bool undone = false;                // it was worse, and the layers are those of before
  std::int64_t steps = 0, tokens = 0;
};

// A chain whose layers are where training starts instead of the teacher's, where it has them.
struct LearnedChain {
  std::filesystem::path dir;
  ChainManifest manifest;

  [[nodiscard]] const DistilledLayer* layer(int layer) const;  // null: it has none
};

struct ChainSetup {
  TrainingSetup training;                         // .dir is the chain's folder
  const WeightFiles* weights;                     // the teacher's files
  int layers = 0;                                 // of the order, to be distilled in all
  kernels::DType stored = kernels::DType::kBf16;  // matrices in the layers' files
  std::map<int, DslaVariant> layer_variants;      // of layers that have another than the manifest's
  const LearnedChain* warm_start = nullptr;       // null: every layer starts from the teacher
  std::function<void(const LayerReport&)> on_layer;
  // Asked before a layer is begun, or gone on with: its chained stage; nothing: the chain ends here for now.
  // Empty: that of the options.
  std::function<Result<std::optional<StageOptions>>(int layer)> chained_stage;
  // The same before the chained stage of all layers at once, where the options have one; nothing: it is left
  // out.
  std::function<Result<std::optional<StageOptions>>()> joint_chained_stage;
  std::function<void(const PlansReport&)> on_plans;
};

using Students = std::vector<std::unique_ptr<StudentLayer>>;

// The distilled layers of a manifest as students, by layer. Errors: those of load_dsla_layer.
Result<Students> load_students(kernels::TrainingBackend& backend, const std::filesystem::path& dir,
                               const ChainManifest& manifest, const LlamaConfig& config);

// Those of plan `plan`, the first of the manifest's layers; `students` by layer.
StudentLayers first_layers(const ChainManifest& manifest, const Students& students, int plan);

// How far the network with `converted` is from the teacher, whose held-out cross entropy is `teacher_ce`.
Result<PlanQuality> plan_quality(Network& network, const TrainingSetup& setup, int plan,
                                 const StudentLayers& converted, double teacher_ce);

// What the gates of `layer`, one of `converted`, have become, on the first held-out sequence: for its losses.
Result<nlohmann::json> gates_json(Network& network, const TrainingSetup& setup,
                                  const StudentLayers& converted, int layer);

// Replaces `dir`/chain.json by `manifest`, which takes over what `dslad-model eval --write-chain` has stored
// of plans since it was read. Errors: those of update_chain_manifest.
Status save_distilled(const std::filesystem::path& dir, ChainManifest& manifest);

// Distils what `manifest` lacks of its first `setup.layers` layers, and updates it in memory and on disk.
// REQUIRES: the manifest is the network's teacher's, the network holds every layer's variant. Errors: those
// of train_layer and of writing; everything finished before stays.
Status distil_chain(kernels::TrainingBackend& backend, Network& network, const ChainSetup& setup,
                    ChainManifest& manifest);

}  // namespace dslad::worker
