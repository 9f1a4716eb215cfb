// A chain's layers before they are trained by themselves: what each starts from, and the layer-wise stage in
// which they learn beside each other (joint_stage.h). Thread safety: one caller at a time.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "worker/distill/chain_training.h"
#include "worker/distill/sensitivity.h"

namespace dslad::worker {

struct FirstStudent {
  std::unique_ptr<StudentLayer> student;
  nlohmann::json started_from;  // null: the teacher
};

// A layer as the manifest will name it: its number, and its variant where that is its own.
DistilledLayer planned(const ChainSetup& setup, int layer);

Result<FirstStudent> first_student(kernels::TrainingBackend& backend, const LlamaConfig& config,
                                   const ChainSetup& setup, int layer, const ChainManifest& manifest);

// `layers` with their first values.
Result<Students> first_students(kernels::TrainingBackend& backend, const LlamaConfig& config,
                                const ChainSetup& setup, std::span<const int> layers,
                                const ChainManifest& manifest);
// The same by layer, as the network takes them; null where there is none.
TrainedLayers by_layer(const Students& students, int layers);

// What `student`, the next of the order, has learned in a layer-wise stage together with those after it.
// Where the folder does not hold that yet, the stage is run now: for all layers that are to come, or those it
// was begun with.
Result<LayerwiseResult> joint_result(kernels::TrainingBackend& backend, Network& network,
                                     const ChainSetup& setup, const StudentLayer& student,
                                     const ChainManifest& manifest);

// That stage for every layer of the model, whose order is not decided yet, and what each diverges by when it
// is converted alone. Errors: those of train_jointly; kUnavailable when stopped.
Result<ConvertedAlone> convert_jointly(kernels::TrainingBackend& backend, Network& network,
                                       const ChainSetup& setup, const ChainManifest& manifest);

}  // namespace dslad::worker
