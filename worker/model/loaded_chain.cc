#include "worker/model/loaded_chain.h"

#include <fmt/format.h>

#include "worker/model/device.h"
#include "worker/model/dsla_layer.h"

namespace dslad::worker {
namespace {

Result<std::shared_ptr<const DslaWeights>> load_layer(const std::filesystem::path& dir,
                                                      const DistilledLayer& layer, const DslaVariant& variant,
                                                      const ChainModel& model) {
  const auto tensors = load_dsla_layer(dir, layer, model.config, variant);
  if (!tensors) return tensors.error();
  auto packed = distilled_dsla(model.device, model.config, variant, *tensors, model.format);
  if (packed == nullptr) {
    return no_memory(model.device,
                     fmt::format("{} has no memory for layer {}", model.device.name(), layer.layer));
  }
  return packed;
}

// The packed layer that `before` has of the same file; null: it has none. The file is read through all the
// same: it may be damaged by now.
Result<std::shared_ptr<const DslaWeights>> layer_of(const LoadedChain& before,
                                                    const std::filesystem::path& dir,
                                                    const DistilledLayer& layer, const DslaVariant& variant) {
  for (std::size_t position = 0; before.manifest && position < before.layers.size(); ++position) {
    const DistilledLayer& known = before.manifest->distilled[position];
    if (known.layer != layer.layer || known.checksum != layer.checksum ||
        before.manifest->variant_of(known) != variant) {
      continue;
    }
    const auto file = open_dsla_layer(dir, layer);
    if (!file) return file.error();
    return before.layers[position];
  }
  return std::shared_ptr<const DslaWeights>();
}

// Usable layers up to the first that is not.
void load_layers(const std::filesystem::path& dir, const ChainModel& model, const ChainReload& reload,
                 LoadedChain& chain) {
  for (const DistilledLayer& layer : chain.manifest->distilled) {
    if (reload.stop.stop_requested()) {
      chain.fault = chain.warning = "loading was stopped";
      return;
    }
    const DslaVariant& variant = chain.manifest->variant_of(layer);
    Result<std::shared_ptr<const DslaWeights>> loaded = std::shared_ptr<const DslaWeights>();
    if (reload.before != nullptr) loaded = layer_of(*reload.before, dir, layer, variant);
    if (loaded && *loaded == nullptr) loaded = load_layer(dir, layer, variant, model);
    if (!loaded) {
      chain.fault = loaded.error().message;
      chain.warning =
          fmt::format("{}; plans end at {}, before layer {}", chain.fault, chain.layers.size(), layer.layer);
      return;
    }
    chain.layers.push_back(*std::move(loaded));
  }
}

}  // namespace

LoadedChain LoadedChain::none(int layers) {
  return {ConversionOrder::by_index(layers), std::nullopt, {}, {}};
}

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

LoadedChain load_chain(const std::filesystem::path& folder, const ChainModel& model,
                       const ChainReload& reload) {
  return load_chain_in(chain_folder(folder), model, reload);
}

LoadedChain load_chain_in(const std::filesystem::path& dir, const ChainModel& model,
                          const ChainReload& reload) {
  LoadedChain chain = LoadedChain::none(model.config.layers);
  const auto refuse = [&](std::string fault) {
    chain.fault = std::move(fault);
    chain.warning = chain.fault + "; the model has plan 0 only";
  };
  chain.stamp = FileStamp::of(dir / kChainFile);
  auto edition = load_chain_edition(dir);
  if (!edition) {
    if (edition.error().code != ErrorCode::kNotFound) refuse(edition.error().message);
    return chain;
  }
  const Status fits = check_chain(edition->manifest, model.digest, model.config.layers);
  if (!fits) {
    refuse(fmt::format("{}: {}", (dir / kChainFile).string(), fits.error().message));
    return chain;
  }
  chain.order = *ConversionOrder::create(edition->manifest.order);  // checked when it was parsed
  chain.manifest = std::move(edition->manifest);
  chain.edition = std::move(edition->digest);
  load_layers(dir, model, reload, chain);
  return chain;
}

}  // namespace dslad::worker
