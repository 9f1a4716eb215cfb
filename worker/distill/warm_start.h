// A layer that begins from what another one has learned, also from one whose q and k have fewer channels.
// Safe from any thread.
#pragma once

#include "base/result.h"
#include "worker/model/dsla_layer.h"

namespace dslad::worker {

// Replaces the `initial` tensors of a layer of `variant` by the `learned` ones of `learned_variant`. Where
// expand_k has grown, what learned_variant lacks keeps its initial values, those of q and k times three:
// trained channels outweigh a softmax's others (docs/quality.md). Errors: kInvalidArgument where the variants
// differ in more than expand_k and the biases, or expand_k has shrunk. REQUIRES: the tensors are the
// variants'.
Status start_warm(const LlamaConfig& config, const DslaVariant& learned_variant,
                  const DslaLayerTensors& learned, const DslaVariant& variant, DslaLayerTensors& initial);

}  // namespace dslad::worker
