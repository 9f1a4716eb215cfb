// Shapes of models that benchmarks are run on, with random weights.
#pragma once

#include <string_view>

#include "worker/model/config.h"

namespace dslad::bench {

// "S": SmolLM2-135M, "M": TinyLlama-1.1B, "7B": Llama-2-7B, "8B": Llama-3-8B. The context is the caller's to
// set. REQUIRES: one of these.
worker::LlamaConfig model_shape(std::string_view name);

}  // namespace dslad::bench
