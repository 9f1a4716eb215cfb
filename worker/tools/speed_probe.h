// How fast training is here, found by small steps of students that are thrown away. One caller at a time.
#pragma once

#include "worker/distill/allotment.h"
#include "worker/distill/chain_training.h"

namespace dslad::worker {

// Of a model's own layers and output projection.
PassCosts pass_costs(const LlamaConfig& config);

// Seconds for one token.
struct TrainingSpeed {
  double joint = 0;  // of a layer-wise step of all layers
  double pass = 0;   // of a layer's forward pass, as a chained step takes it
};

// Takes about a hundredth of `seconds`, or as long as two small steps need. `setup`: with its options and
// training sequences. Errors: those of training.
Result<TrainingSpeed> measure_speed(kernels::TrainingBackend& backend, Network& network,
                                    const ChainSetup& setup, const ChainManifest& manifest, double seconds);

}  // namespace dslad::worker
