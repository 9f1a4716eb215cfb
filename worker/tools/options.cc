#include "worker/tools/options.h"

#include <cstdio>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <vector>

#include "base/process/allowance.h"
#include "worker/model/device.h"

namespace dslad::worker {

Result<kernels::WeightFormat> parse_format(const std::string& text) {
  if (const auto format = kernels::parse_weight_format(text)) return *format;
  return Error{ErrorCode::kInvalidArgument, fmt::format("dtype '{}' is unknown; use one of {}", text,
                                                        fmt::join(kernels::kWeightFormatNames, ", "))};
}

Result<kernels::DType> parse_dtype(const std::string& text) {
  if (text == "bf16") return kernels::DType::kBf16;
  if (text == "f32") return kernels::DType::kF32;
  return Error{ErrorCode::kInvalidArgument, fmt::format("dtype '{}' is unknown; use bf16 or f32", text)};
}

Result<std::unique_ptr<Engine>> make_engine(std::shared_ptr<const ModelWeights> weights,
                                            const ToolOptions& options, bool prefix_snapshots) {
  EngineLimits limits;
  limits.prefix_snapshots = prefix_snapshots;
  limits.cache_bytes = static_cast<std::size_t>(options.cache_mib) << 20;
  auto backend = make_backend(*weights->device, threads_of(options));
  if (!backend) return backend.error();
  return Engine::create(*std::move(backend), std::move(weights), limits);
}

void report_chain(const LoadedChain& chain, int plan) {
  if (!chain.warning.empty()) fmt::print(stderr, "dslad-model: warning: {}\n", chain.warning);
  std::vector<int> undistilled;
  for (int position = static_cast<int>(chain.layers.size()); position < plan; ++position) {
    undistilled.push_back(chain.order.layer_at(position));
  }
  if (undistilled.empty()) return;
  fmt::print(stderr,
             "dslad-model: plan {} converts layers that are not distilled ({}): a test, not a model\n", plan,
             fmt::join(undistilled, ", "));
}

int threads_of(const ToolOptions& options) {
  return options.threads > 0 ? options.threads : process::processor_allowance();
}

int fail(const Error& error) {
  fmt::print(stderr, "dslad-model: {}\n", error.message);
  return 1;
}

}  // namespace dslad::worker
