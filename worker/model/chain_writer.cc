// Writes chain.json. chain.cc is its counterpart.
#include <fmt/format.h>
#include <span>
#include <system_error>

#include "worker/files/atomic_file.h"
#include "worker/model/chain.h"

namespace dslad::worker {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const DslaVariant& variant) {
  return {{"name", variant.name},
          {"rotary", variant.rotary},
          {"feature_map", to_string(variant.feature_map)},
          {"states", variant.states},
          {"delta", variant.delta},
          {"expand_k", variant.expand_k},
          {"output_norm", variant.output_norm()},
          {"alpha_per_head", variant.alpha_per_head()},
          {"window", variant.window},
          {"sinks", variant.sinks}};
}

Json to_json(const LayerEvidence& evidence) {
  Json out = {{"layer", evidence.layer}};
  if (evidence.entropy) {
    out["entropy"] = {{"last", evidence.entropy->last},
                      {"last_spread", evidence.entropy->last_spread},
                      {"all", evidence.entropy->all},
                      {"heads", evidence.entropy->heads}};
  }
  if (evidence.kl) out["kl"] = *evidence.kl;
  return out;
}

Json to_json(const DistilledLayer& layer) {
  Json out = {
      {"layer", layer.layer}, {"file", layer.file}, {"checksum", layer.checksum}, {"losses", layer.losses}};
  if (layer.variant) out["variant"] = to_json(*layer.variant);
  return out;
}

Json to_json(const PlanQuality& plan) {
  Json out = {{"plan", plan.plan}};
  if (plan.kl) out["kl"] = *plan.kl;
  if (plan.perplexity_ratio) out["perplexity_ratio"] = *plan.perplexity_ratio;
  if (plan.quality) out["quality"] = *plan.quality;
  out["scores"] = plan.scores;
  return out;
}

template <typename Element>
Json list(const std::vector<Element>& elements) {
  Json out = Json::array();
  for (const Element& element : elements) out.push_back(to_json(element));
  return out;
}

std::string text_of(const ChainManifest& manifest) {
  const Json out = {{"format", ChainManifest::kFormatVersion},
                    {"teacher", {{"digest", manifest.teacher_digest}, {"layers", manifest.layers}}},
                    {"made_by", {{"program", manifest.program}, {"version", manifest.version}}},
                    {"variant", to_json(manifest.variant)},
                    {"order",
                     {{"method", manifest.order_method},
                      {"layers", manifest.order},
                      {"evidence", list(manifest.evidence)}}},
                    {"recipe", manifest.recipe},
                    {"layers", list(manifest.distilled)},
                    {"plans", list(manifest.plans)}};
  return out.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

// What cannot be read back must not be written. Numbers that are not finite become null, which is another
// text or none at all.
Status check(const std::string& text, const std::filesystem::path& path) {
  const auto read = parse_chain_manifest(text, path.string());
  if (!read) return read.error();
  if (text_of(*read) == text) return ok_status();
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("{}: a measurement is not a finite number", path.string())};
}

Status make_folder(const std::filesystem::path& dir) {
  std::error_code failed;
  std::filesystem::create_directories(dir, failed);
  if (!failed) return ok_status();
  return Error{ErrorCode::kUnavailable, fmt::format("{}: {}", dir.string(), failed.message())};
}

}  // namespace

Status save_chain_manifest(const std::filesystem::path& dir, const ChainManifest& manifest) {
  const std::filesystem::path path = dir / kChainFile;
  const std::string text = text_of(manifest);
  Status status = check(text, path);
  if (status) status = make_folder(dir);
  return status ? write_file(path, text) : status;
}

Status update_chain_manifest(const std::filesystem::path& dir, const ChainChange& change) {
  const std::filesystem::path path = dir / kChainFile;
  Status status = make_folder(dir);
  if (!status) return status;
  auto file = AtomicFile::create(path);  // before it is read: the others wait from here on
  if (!file) return file.error();
  const auto manifest = change(load_chain_manifest(dir));
  if (!manifest) return manifest.error();
  const std::string text = text_of(*manifest);
  status = check(text, path);
  if (status) status = file->append(std::as_bytes(std::span(text)));
  return status ? file->commit() : status;
}

}  // namespace dslad::worker
