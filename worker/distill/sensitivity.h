// How much each layer matters: the evidence for a conversion order, and the orders that follow from it.
//
// Two measures: the attention's entropy (arXiv 2506.09316, section 3.2; its streamed form is in
// kernels/attention/sequence_attention.h), which costs one forward pass, and the divergence that converting
// this layer alone causes after its layer-wise stage. Thread safety: one caller at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/distill/joint_training.h"
#include "worker/model/chain.h"
#include "worker/model/weight_files.h"

namespace dslad::worker {

// Over the sequences' first segments: texts and documents, a prompt each. kUnavailable once `stop` is set.
Result<std::vector<AttentionEntropy>> measure_entropy(Network& network,
                                                      std::span<const TrainingBatch> sequences,
                                                      const std::atomic<bool>* stop = nullptr);

struct SensitivitySetup {
  const DistilOptions* options;  // its layer-wise stage is used
  DslaVariant variant;
  std::span<const TrainingBatch> training, held_out;
  std::function<void(const JointStep&)> on_step;  // may be empty
  const std::atomic<bool>* stop = nullptr;
};

struct ConvertedAlone {
  std::vector<std::unique_ptr<StudentLayer>> students;  // by layer, after their layer-wise stage
  std::vector<double> kl;                               // nats, by layer
  std::int64_t tokens = 0;                              // that each was trained on
};

// Trains every layer by itself, all of them beside each other on the teacher's own hidden states, then
// measures each. kUnavailable when stopped.
Result<ConvertedAlone> convert_alone(kernels::TrainingBackend& backend, Network& network,
                                     const WeightFiles& weights, const SensitivitySetup& setup);

// Next is always the layer whose conversion, on top of those before it, adds the least divergence on
// setup.held_out; students as convert_alone left them with that setup. `on_tried` hears how many of the
// conversions that have to be measured are.
Result<std::vector<int>> greedy_order(Network& network, const ConvertedAlone& alone,
                                      const SensitivitySetup& setup,
                                      const std::function<void(std::size_t tried, std::size_t of)>& on_tried);

// kInvalidArgument, which says what there is, unless `method` is "greedy" or one of order_by's.
Status check_order_method(std::string_view method);

// "entropy-ascending" (the paper's), "entropy-descending", "kl", "index", "reverse" or "random". Ties go by
// index. kInvalidArgument for another method, or one whose evidence is missing.
Result<std::vector<int>> order_by(std::string_view method, std::span<const LayerEvidence> evidence,
                                  int layers, std::uint64_t seed);

}  // namespace dslad::worker
