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
};

// The distilled layers of a manifest as students, by layer. Errors: those of load_dsla_layer.
Result<std::vector<std::unique_ptr<StudentLayer>>> load_students(kernels::TrainingBackend& backend,
                                                                 const std::filesystem::path& dir,
                                                                 const ChainManifest& manifest,
                                                                 const LlamaConfig& config);

// Replaces `dir`/chain.json by `manifest`, which takes over what `dslad-model eval --write-chain` has stored
// of plans since it was read. Errors: those of update_chain_manifest.
Status save_distilled(const std::filesystem::path& dir, ChainManifest& manifest);

// Distils what `manifest` lacks of its first `setup.layers` layers, and updates it in memory and on disk.
// REQUIRES: the manifest is the network's teacher's, the network holds every layer's variant. Errors: those
// of train_layer and of writing; everything finished before stays.
Status distil_chain(kernels::TrainingBackend& backend, Network& network, const ChainSetup& setup,
                    ChainManifest& manifest);

}  // namespace dslad::worker
