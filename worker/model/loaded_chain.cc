#include "worker/model/loaded_chain.h"

#include <algorithm>
#include <fmt/format.h>

#include "worker/model/dsla_layer.h"

namespace dslad::worker {
namespace {

Result<std::shared_ptr<const DslaWeights>> load_layer(const std::filesystem::path& dir,
                                                      const DistilledLayer& layer, const DslaVariant& variant,
                                                      const LlamaConfig& config, kernels::DType dtype) {
  const auto tensors = load_dsla_layer(dir, layer, config, variant);
  if (!tensors) return tensors.error();
  auto packed = distilled_dsla(config, variant, *tensors, dtype);
  if (packed == nullptr) {
    return Error{ErrorCode::kResourceExhausted, fmt::format("no memory for layer {}", layer.layer)};
  }
  return packed;
}

// Usable layers up to the first that is not.
void load_layers(const std::filesystem::path& dir, const LlamaConfig& config, kernels::DType dtype,
                 LoadedChain& chain) {
  for (const DistilledLayer& layer : chain.manifest->distilled) {
    auto loaded = load_layer(dir, layer, chain.manifest->variant_of(layer), config, dtype);
    if (!loaded) {
      chain.warning = fmt::format("{}; plans end at {}, before layer {}", loaded.error().message,
                                  chain.layers.size(), layer.layer);
      return;
    }
    chain.layers.push_back(*std::move(loaded));
  }
}

}  // namespace

ConvertedLayers LoadedChain::by_layer() const {
  ConvertedLayers out(static_cast<std::size_t>(order.layers()));
  for (std::size_t position = 0; position < layers.size(); ++position) {
    out[static_cast<std::size_t>(order.layer_at(static_cast<int>(position)))] = layers[position];
  }
  return out;
}

std::optional<double> LoadedChain::quality_of(int plan) const {
  if (plan == 0) return 1.0;
  if (!manifest || plan > std::ssize(layers)) return std::nullopt;
  const PlanQuality* measured = manifest->quality_of(plan);
  return measured == nullptr ? std::nullopt : measured->quality;
}

std::size_t LoadedChain::bytes() const {
  std::size_t sum = 0;
  for (const auto& layer : layers) sum += layer->bytes();
  return sum;
}

Result<ConvertedLayers> layers_of_plan(const LoadedChain& chain, const ModelWeights& weights, int plan) {
  if (plan < 0 || plan > chain.order.layers()) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("plan {} is out of range; the model has {} layers", plan, chain.order.layers())};
  }
  ConvertedLayers converted(static_cast<std::size_t>(chain.order.layers()));
  for (int position = 0; position < plan; ++position) {
    const int layer = chain.order.layer_at(position);
    const bool distilled = position < std::ssize(chain.layers);
    auto& form = converted[static_cast<std::size_t>(layer)];
    form = distilled ? chain.layers[static_cast<std::size_t>(position)]
                     : undistilled_dsla(weights.config, layer, weights.dtype);
    if (form == nullptr) {
      return Error{ErrorCode::kResourceExhausted, fmt::format("no memory to convert layer {}", layer)};
    }
  }
  return converted;
}

Status check_chain(const ChainManifest& manifest, std::string_view teacher_digest, int teacher_layers) {
  if (manifest.teacher_digest != teacher_digest) {
    return Error{ErrorCode::kRefused,
                 fmt::format("the chain was distilled from weights with the digest {}, these have {}; distil "
                             "these, or put the chain's own weights here",
                             manifest.teacher_digest, teacher_digest)};
  }
  if (manifest.layers != teacher_layers) {
    return Error{ErrorCode::kRefused, fmt::format("the chain is of a model with {} layers, this has {}",
                                                  manifest.layers, teacher_layers)};
  }
  return ok_status();
}

LoadedChain load_chain(const std::filesystem::path& model, const LlamaConfig& config, std::string_view digest,
                       kernels::DType dtype) {
  LoadedChain chain{ConversionOrder::by_index(config.layers), std::nullopt, {}, {}};
  const std::filesystem::path dir = chain_folder(model);
  auto edition = load_chain_edition(dir);
  if (!edition) {
    if (edition.error().code != ErrorCode::kNotFound) {
      chain.warning = fmt::format("{}; the model has plan 0 only", edition.error().message);
    }
    return chain;
  }
  const Status fits = check_chain(edition->manifest, digest, config.layers);
  if (!fits) {
    chain.warning =
        fmt::format("{}: {}; the model has plan 0 only", (dir / kChainFile).string(), fits.error().message);
    return chain;
  }
  chain.order = *ConversionOrder::create(edition->manifest.order);  // checked when it was parsed
  chain.manifest = std::move(edition->manifest);
  chain.edition = std::move(edition->digest);
  load_layers(dir, config, dtype, chain);
  return chain;
}

}  // namespace dslad::worker
