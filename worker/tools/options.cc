#include "worker/tools/options.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <thread>

namespace dslad::worker {

Result<kernels::DType> parse_dtype(const std::string& text) {
  if (text == "bf16") return kernels::DType::kBf16;
  if (text == "f32") return kernels::DType::kF32;
  return Error{ErrorCode::kInvalidArgument, fmt::format("dtype '{}' is unknown; use bf16 or f32", text)};
}

Result<std::unique_ptr<Engine>> make_engine(std::shared_ptr<const ModelWeights> weights,
                                            const ToolOptions& options) {
  const int layers = weights->config.layers;
  if (options.plan < 0 || options.plan > layers) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("plan {} is out of range; the model has {} layers", options.plan, layers)};
  }
  EngineLimits limits;
  limits.cache_bytes = static_cast<std::size_t>(options.cache_mib) << 20;
  auto engine = Engine::create(kernels::make_cpu_backend(threads_of(options)), weights,
                               ConversionOrder::by_index(layers), limits);
  if (!engine) return engine;
  for (int position = 0; position < options.plan; ++position) {
    const int layer = (*engine)->order().layer_at(position);
    (*engine)->install(layer, undistilled_dsla(weights->config, layer, weights->dtype));
  }
  return engine;
}

int threads_of(const ToolOptions& options) {
  if (options.threads > 0) return options.threads;
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

int fail(const Error& error) {
  fmt::print(stderr, "dslad-model: {}\n", error.message);
  return 1;
}

}  // namespace dslad::worker
