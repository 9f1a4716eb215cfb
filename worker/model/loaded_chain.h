// A model's conversion chain as serving uses it: what can be used of MODEL/dsla, and why not more.
//
// Immutable once loaded. Never an error: without a usable chain the model still serves at plan 0.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "worker/files/file_stamp.h"
#include "worker/model/chain.h"
#include "worker/model/conversion_order.h"
#include "worker/model/dsla_weights.h"
#include "worker/model/weights.h"

namespace dslad::worker {

// Converted forms of layers; null where there is none.
using ConvertedLayers = std::vector<std::shared_ptr<const DslaWeights>>;

struct LoadedChain {
  ConversionOrder order;                  // the manifest's; by index without one
  std::optional<ChainManifest> manifest;  // absent: there is none, or it was refused
  ConvertedLayers
      layers;           // by position in the order: the distilled ones that can be used; plans end with them
  std::string warning;  // what was refused, why, and which plans that leaves; empty: nothing was
  std::string edition = {};  // digest of the manifest's file; empty without one
  std::string fault = {};    // the warning without which plans are left, for who does not serve with these
  std::optional<FileStamp> stamp = std::nullopt;  // of the manifest's file, from before it was read

  static LoadedChain none(int layers);  // of a model with so many

  [[nodiscard]] ConvertedLayers by_layer() const;  // the same layers, as many as the model has
  [[nodiscard]] std::size_t bytes() const;         // of all packed matrices
  // Of a plan, relative to plan 0; nothing where it was not measured or cannot be used.
  [[nodiscard]] std::optional<double> quality_of(int plan) const;
};

// For who loads a chain in the place of another.
struct ChainReload {
  const LoadedChain* before = nullptr;  // of the same model; its packed layers serve again where files stayed
  std::stop_token stop = {};            // once asked for, loading ends before the next layer, with a fault
};

// What a chain is loaded for: a model whose weights need not be there, and how its layers are held.
struct ChainModel {
  const LlamaConfig& config;
  std::string_view digest;  // of the model's weights
  kernels::WeightFormat format;
  kernels::Device& device;

  static ChainModel of(const ModelWeights& weights) {
    return {weights.config, weights.digest, weights.format, *weights.device};
  }
};

// Checks the chain in the folder `dir` in full and packs its layers.
LoadedChain load_chain_in(const std::filesystem::path& dir, const ChainModel& model,
                          const ChainReload& reload = {});
// The same for the chain beside the weights of the model `folder`.
LoadedChain load_chain(const std::filesystem::path& folder, const ChainModel& model,
                       const ChainReload& reload = {});
inline LoadedChain load_chain(const std::filesystem::path& folder, const ModelWeights& weights,
                              const ChainReload& reload = {}) {
  return load_chain(folder, ChainModel::of(weights), reload);
}

// Whether a manifest belongs to this teacher. kRefused.
Status check_chain(const ChainManifest& manifest, std::string_view teacher_digest, int teacher_layers);

}  // namespace dslad::worker
