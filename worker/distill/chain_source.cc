#include "worker/distill/chain_source.h"

#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "worker/files/atomic_file.h"
#include "worker/files/json_fields.h"
#include "worker/model/dsla_layer.h"

namespace dslad::worker {
namespace {

constexpr int kMostLayers = 1024;  // of a chain
// Recipes within recipes that a new one tells of. A chain that grew in many runs would else nest them deeper
// than JSON is read, or larger than anybody reads.
constexpr int kMostEarlier = 8;

// Of a recipe, which may be any JSON as other programs write it too, whose chain came from a chain: what made
// the first `layers` layers where those are from there; null: they are not.
const nlohmann::json* earlier_recipe(const nlohmann::json& recipe, int layers) {
  const nlohmann::json* found = JsonFields(recipe, "recipe").find("from");
  if (found == nullptr) return nullptr;
  JsonFields from(*found, "from");
  const std::int64_t keep = from.integer("keep", 0, kMostLayers, -1);
  return from.status() && keep >= layers ? from.find("recipe") : nullptr;
}

// Leaves out what made the layers of chains more than kMostEarlier runs back; how many those were stays.
void forget_distant(nlohmann::json& recipe) {
  nlohmann::json* at = &recipe;
  for (int runs = 1; at->is_object() && at->contains("from"); ++runs) {
    nlohmann::json& from = at->at("from");
    if (!from.is_object() || !from.contains("recipe")) return;
    if (runs >= kMostEarlier) {
      from.erase("recipe");
      return;
    }
    at = &from.at("recipe");
  }
}

Status copy_layer(const std::filesystem::path& from, const DistilledLayer& layer,
                  const std::filesystem::path& to) {
  const auto file = open_dsla_layer(from, layer);
  if (!file) return file.error();
  return write_file(to / layer.file,
                    {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()});
}

// The log's lines that tell of the layers; of no log, none.
std::string log_of(const std::filesystem::path& log, std::span<const DistilledLayer> layers) {
  std::set<int> wanted;
  for (const DistilledLayer& layer : layers) wanted.insert(layer.layer);
  std::string kept;
  std::ifstream file(log);
  for (std::string line; std::getline(file, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);  // a killed run may have left half a line
    JsonFields fields(json, "log.jsonl");
    const auto layer = static_cast<int>(fields.integer("layer", 0, kMostLayers, -1));
    if (fields.status() && wanted.contains(layer)) kept += line + "\n";
  }
  return kept;
}

}  // namespace

Result<ChainSource> ChainSource::open(std::filesystem::path dir, std::optional<int> keep) {
  auto manifest = load_chain_manifest(dir);
  if (!manifest) return manifest.error();
  const int distilled = static_cast<int>(manifest->distilled.size());
  if (keep.value_or(0) > distilled) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("{}: {} layers cannot be kept, the chain has {}",
                                                          dir.string(), *keep, distilled)};
  }
  return ChainSource(std::move(dir), *std::move(manifest), keep.value_or(distilled));
}

std::span<const DistilledLayer> ChainSource::kept() const {
  return std::span(manifest_.distilled).first(static_cast<std::size_t>(keep_));
}

nlohmann::json ChainSource::description() const {
  const nlohmann::json* recipe = &manifest_.recipe;
  while (const nlohmann::json* earlier = earlier_recipe(*recipe, keep_)) recipe = earlier;
  nlohmann::json told = *recipe;
  forget_distant(told);
  return {{"keep", keep_}, {"recipe", std::move(told)}};
}

Result<ChainManifest> ChainSource::begin(const std::filesystem::path& dir, const DslaVariant& variant) const {
  ChainManifest manifest = manifest_;
  manifest.distilled.resize(static_cast<std::size_t>(keep_));
  std::erase_if(manifest.plans, [&](const PlanQuality& plan) { return plan.plan > keep_; });
  for (DistilledLayer& layer : manifest.distilled) {
    const Status copied = copy_layer(dir_, layer, dir);
    if (!copied) return copied.error();
    if (layer.losses.contains("joint_chained")) {  // of that chain: this one may have the stage again
      layer.losses["joint_chained_before"] = std::exchange(layer.losses["joint_chained"], nullptr);
      layer.losses.erase("joint_chained");
    }
    const DslaVariant own = manifest_.variant_of(layer);
    layer.variant = own == variant ? std::nullopt : std::optional(own);
  }
  const std::string log = log_of(dir_ / "log.jsonl", manifest.distilled);
  if (log.empty()) return manifest;
  const Status written = write_file(dir / "log.jsonl", log);
  if (!written) return written.error();
  return manifest;
}

}  // namespace dslad::worker
