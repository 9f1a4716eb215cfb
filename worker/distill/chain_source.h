// What a new chain takes over from one that exists: its order and evidence, and its first layers as they are.
//
// The source is only read. Immutable; safe from any thread.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>

#include "base/result.h"
#include "worker/model/chain.h"

namespace dslad::worker {

class ChainSource {
 public:
  // `keep`: how many layers stay as they are; absent: all. Errors: those of load_chain_manifest;
  // kInvalidArgument when the chain has fewer.
  static Result<ChainSource> open(std::filesystem::path dir, std::optional<int> keep);

  [[nodiscard]] const std::filesystem::path& dir() const { return dir_; }
  [[nodiscard]] const ChainManifest& manifest() const { return manifest_; }
  [[nodiscard]] std::span<const DistilledLayer> kept() const;
  // What a new chain's recipe says of it: {"keep", "recipe": what made the kept layers}. Of a chain that grew
  // in many runs the recipes of the last eight.
  [[nodiscard]] nlohmann::json description() const;

  // Copies the kept layers' files and log into the folder `dir` and returns the manifest that a chain
  // of `variant` there begins with; it is not written. Errors: kCorrupt for a damaged layer; those of files.
  [[nodiscard]] Result<ChainManifest> begin(const std::filesystem::path& dir,
                                            const DslaVariant& variant) const;

 private:
  ChainSource(std::filesystem::path dir, ChainManifest manifest, int keep)
      : dir_(std::move(dir)), manifest_(std::move(manifest)), keep_(keep) {}

  std::filesystem::path dir_;
  ChainManifest manifest_;
  int keep_;
};

}  // namespace dslad::worker
