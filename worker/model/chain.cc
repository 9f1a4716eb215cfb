// Parses chain.json. chain_writer.cc is its counterpart.
#include "worker/model/chain.h"

#include <algorithm>
#include <fmt/format.h>

#include "worker/files/json_fields.h"
#include "worker/files/json_file.h"
#include "worker/files/model_path.h"
#include "worker/files/read_file.h"
#include "worker/model/conversion_order.h"
#include "worker/model/digest.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxManifestBytes = 64 << 20;
constexpr std::int64_t kMaxLayers = 1024;
constexpr std::int64_t kMaxWindow = 1 << 24;
constexpr double kMostNats = 1e6;    // of an entropy or a divergence
constexpr double kMaxRatio = 1e100;  // of perplexities: a ruined student's is astronomical
constexpr double kMaxQuality = 1e6;

std::string name_of(JsonFields& fields, const char* key) {
  std::string name = fields.text(key);
  if (name.empty()) fields.refuse(key, "must not be empty");
  return name;
}

std::optional<double> measured(JsonFields& fields, const char* key, double high) {
  if (fields.find(key) == nullptr) return std::nullopt;
  return fields.number(key, 0, high);
}

// Whatever the program that made the chain put there.
json free_object(JsonFields& fields, const char* key) {
  const json* const object = fields.find(key);
  if (object != nullptr && object->is_object()) return *object;
  fields.refuse(key, "must be an object");
  return json::object();
}

// Earlier programs wrote there what the gates' biases started from: of no use to who reads a layer.
DslaVariant read_variant(JsonFields fields) {
  fields.refuse_unknown({"name", "rotary", "feature_map", "states", "delta", "expand_k", "output_norm",
                         "alpha_per_head", "window", "sinks", "history_bias", "recency_bias"});
  DslaVariant variant;
  variant.name = name_of(fields, "name");
  variant.rotary = fields.boolean("rotary");
  const auto map = parse_feature_map(fields.text("feature_map"));
  if (map) {
    variant.feature_map = *map;
  } else {
    fields.refuse("feature_map", map.error().message);
  }
  // Chains made before there was a choice lack these.
  if (fields.find("states") != nullptr) variant.states = static_cast<int>(fields.integer("states", 1, 2));
  variant.delta = fields.boolean("delta", false);
  if (fields.find("expand_k") != nullptr) {
    variant.expand_k = static_cast<int>(fields.integer("expand_k", 1, kMaxExpandK));
  }
  const bool normed = fields.boolean("output_norm");
  if (fields.boolean("alpha_per_head") != normed)
    fields.refuse("alpha_per_head", "must be as output_norm is");
  variant.form = normed ? LayerForm::kDslad : LayerForm::kPaper;
  variant.window = fields.integer("window", 0, kMaxWindow);
  if (fields.find("sinks") != nullptr) variant.sinks = fields.integer("sinks", 0, kernels::kMostSinks);
  const Status possible = check_variant(variant);
  if (!possible) {
    const bool of_sinks = variant.window == 0 && variant.sinks > 0,
               of_states = variant.delta && variant.states > 1;
    fields.refuse(of_sinks ? "sinks" : of_states ? "delta" : "expand_k", possible.error().message);
  }
  return variant;
}

AttentionEntropy read_entropy(JsonFields fields) {
  fields.refuse_unknown({"last", "last_spread", "all", "heads"});
  AttentionEntropy entropy;
  entropy.last = fields.number("last", 0, kMostNats);
  entropy.last_spread = fields.number("last_spread", 0, kMostNats);
  entropy.all = fields.number("all", 0, kMostNats);
  entropy.heads = fields.numbers("heads", 0, kMostNats);
  return entropy;
}

LayerEvidence read_evidence(JsonFields fields, int layers) {
  fields.refuse_unknown({"layer", "entropy", "kl"});
  LayerEvidence evidence;
  evidence.layer = static_cast<int>(fields.integer("layer", 0, layers - 1));
  if (fields.find("entropy") != nullptr) evidence.entropy = read_entropy(fields.object("entropy"));
  evidence.kl = measured(fields, "kl", kMostNats);
  return evidence;
}

std::vector<int> read_permutation(JsonFields& fields, int layers) {
  const auto listed = fields.integers("layers", 0, layers - 1);
  std::vector<int> order(listed.begin(), listed.end());
  const auto checked = ConversionOrder::create(order);
  if (std::ssize(order) != layers) {
    fields.refuse("layers", fmt::format("must name each of the teacher's {} layers once", layers));
  } else if (!checked) {
    fields.refuse("layers", checked.error().message);
  }
  return order;
}

void read_order(JsonFields fields, ChainManifest& manifest) {
  fields.refuse_unknown({"method", "layers", "evidence"});
  manifest.order_method = name_of(fields, "method");
  manifest.order = read_permutation(fields, manifest.layers);
  for (JsonFields& element : fields.objects("evidence")) {
    LayerEvidence evidence = read_evidence(element, manifest.layers);
    if (manifest.evidence_of(evidence.layer) != nullptr) element.refuse("layer", "appears twice");
    manifest.evidence.push_back(std::move(evidence));
  }
}

bool is_checksum(std::string_view text) {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.find('/') == std::string_view::npos && name != "." && name != "..";
}

DistilledLayer read_layer(JsonFields& fields, const DslaVariant& chain) {
  fields.refuse_unknown({"layer", "file", "checksum", "losses", "variant"});
  DistilledLayer layer;
  layer.layer = static_cast<int>(fields.integer("layer", 0, kMaxLayers - 1));
  layer.file = fields.text("file");
  if (!is_plain_name(layer.file)) fields.refuse("file", "must name a file beside chain.json");
  layer.checksum = fields.text("checksum");
  if (!is_checksum(layer.checksum)) fields.refuse("checksum", "must be 32 lower-case hexadecimal digits");
  layer.losses = free_object(fields, "losses");
  if (fields.find("variant") != nullptr) {
    layer.variant = read_variant(fields.object("variant"));
    if (!fit_one_chain(chain, *layer.variant)) {
      fields.refuse("variant", "must have the chain's output_norm, alpha_per_head, window and sinks");
    }
  }
  return layer;
}

// Plans nest, so the distilled layers must be the order's first.
void read_layers(JsonFields& fields, ChainManifest& manifest) {
  for (JsonFields& element : fields.objects("layers")) {
    const std::size_t position = manifest.distilled.size();
    manifest.distilled.push_back(read_layer(element, manifest.variant));
    if (position >= manifest.order.size()) {
      element.refuse("layer", "there are more layers here than in the order");
    } else if (manifest.distilled.back().layer != manifest.order[position]) {
      element.refuse("layer", fmt::format("the order has layer {} at this place", manifest.order[position]));
    }
  }
}

void read_plans(JsonFields& fields, ChainManifest& manifest) {
  for (JsonFields& element : fields.objects("plans")) {
    element.refuse_unknown({"plan", "kl", "perplexity_ratio", "quality", "scores"});
    PlanQuality plan;
    plan.plan = static_cast<int>(element.integer("plan", 0, std::ssize(manifest.distilled)));
    plan.kl = measured(element, "kl", kMostNats);
    plan.perplexity_ratio = measured(element, "perplexity_ratio", kMaxRatio);
    plan.quality = measured(element, "quality", kMaxQuality);
    plan.scores = free_object(element, "scores");
    if (!manifest.plans.empty() && plan.plan <= manifest.plans.back().plan) {
      element.refuse("plan", "plans must ascend");
    }
    manifest.plans.push_back(std::move(plan));
  }
}

ChainManifest read_manifest(JsonFields& fields) {
  ChainManifest manifest;
  if (fields.integer("format", 0, INT32_MAX) != ChainManifest::kFormatVersion) {
    fields.refuse("format", fmt::format("this program reads format {}; use the one that made the chain",
                                        ChainManifest::kFormatVersion));
  }
  fields.refuse_unknown({"format", "teacher", "made_by", "variant", "order", "recipe", "layers", "plans"});
  JsonFields teacher = fields.object("teacher");
  teacher.refuse_unknown({"digest", "layers"});
  manifest.teacher_digest = name_of(teacher, "digest");
  manifest.layers = static_cast<int>(teacher.integer("layers", 1, kMaxLayers));
  JsonFields maker = fields.object("made_by");
  maker.refuse_unknown({"program", "version"});
  manifest.program = name_of(maker, "program");
  manifest.version = name_of(maker, "version");
  manifest.variant = read_variant(fields.object("variant"));
  read_order(fields.object("order"), manifest);
  manifest.recipe = free_object(fields, "recipe");
  read_layers(fields, manifest);
  read_plans(fields, manifest);
  return manifest;
}

}  // namespace

const LayerEvidence* ChainManifest::evidence_of(int layer) const {
  const auto found = std::ranges::find(evidence, layer, &LayerEvidence::layer);
  return found == evidence.end() ? nullptr : &*found;
}

const PlanQuality* ChainManifest::quality_of(int plan) const {
  const auto found = std::ranges::find(plans, plan, &PlanQuality::plan);
  return found == plans.end() ? nullptr : &*found;
}

std::string ChainManifest::variants_text() const {
  std::string text = variant.name;
  for (const DistilledLayer& layer : distilled) {
    if (layer.variant) text += fmt::format("; layer {}: {}", layer.layer, layer.variant->name);
  }
  return text;
}

std::filesystem::path chain_folder(const std::filesystem::path& model) {
  return model_companion(model, "dsla");
}

Result<ChainManifest> parse_chain_manifest(std::string_view text, std::string_view name) {
  const auto document = parse_json(text, name);
  if (!document) return document.error();
  JsonFields fields(*document, name);
  ChainManifest manifest = read_manifest(fields);
  if (!fields.status()) return fields.status().error();
  return manifest;
}

Result<ChainManifest> load_chain_manifest(const std::filesystem::path& dir) {
  auto edition = load_chain_edition(dir);
  if (!edition) return edition.error();
  return std::move(edition->manifest);
}

Result<ChainEdition> load_chain_edition(const std::filesystem::path& dir) {
  const std::filesystem::path path = dir / kChainFile;
  const auto text = read_file(path, kMaxManifestBytes);
  if (!text) return text.error();
  auto manifest = parse_chain_manifest(*text, path.string());
  if (!manifest) return manifest.error();
  Digest digest;
  digest.add(*text);
  return ChainEdition{*std::move(manifest), digest.hex()};
}

}  // namespace dslad::worker
