#include "worker/tools/chain_summary.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace dslad::worker {
namespace {

using Json = nlohmann::ordered_json;

// One position of the order and the plan that ends with it.
struct Line {
  int plan, layer;
  std::optional<double> entropy, layer_kl;
  std::optional<double> kl, perplexity_ratio, quality;  // of the plan
  const char* state;
};

const char* state_of(const LoadedChain& chain, std::size_t position) {
  if (position < chain.layers.size()) return "distilled";
  return position < chain.manifest->distilled.size() ? "unusable" : "transformer";
}

std::vector<Line> lines_of(const LoadedChain& chain) {
  std::vector<Line> lines;
  for (int position = 0; position < chain.order.layers(); ++position) {
    Line line{position + 1, chain.order.layer_at(position), {}, {}, {}, {}, {}, ""};
    line.state = state_of(chain, static_cast<std::size_t>(position));
    if (const LayerEvidence* evidence = chain.manifest->evidence_of(line.layer)) {
      if (evidence->entropy) line.entropy = evidence->entropy->last;
      line.layer_kl = evidence->kl;
    }
    if (const PlanQuality* plan = chain.manifest->quality_of(line.plan)) {
      line.kl = plan->kl;
      line.perplexity_ratio = plan->perplexity_ratio;
      line.quality = plan->quality;
    }
    lines.push_back(line);
  }
  return lines;
}

std::string number(const std::optional<double>& value) {
  return value ? fmt::format("{:.4g}", *value) : "-";
}

Json number_json(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}

}  // namespace

std::string chain_text(const LoadedChain& chain) {
  if (!chain.manifest) {
    return fmt::format("chain          {}\n", chain.warning.empty() ? "none" : "refused: " + chain.warning);
  }
  const ChainManifest& manifest = *chain.manifest;
  std::string text =
      fmt::format("chain          variant {}, {} of {} layers distilled, order by {}; made by {} {}\n",
                  manifest.variants_text(), chain.layers.size(), chain.order.layers(), manifest.order_method,
                  manifest.program, manifest.version);
  if (!chain.warning.empty()) text += fmt::format("warning        {}\n", chain.warning);
  constexpr const char* kColumns = "{:>6}  {:>5}  {:<11}  {:>8}  {:>8}  {:>8}  {:>10}  {:>7}\n";
  text += '\n';
  text +=
      fmt::format(kColumns, "plan", "layer", "state", "entropy", "KL alone", "KL", "perplexity", "quality");
  for (const Line& line : lines_of(chain)) {
    text +=
        fmt::format(kColumns, line.plan, line.layer, line.state, number(line.entropy), number(line.layer_kl),
                    number(line.kl), number(line.perplexity_ratio), number(line.quality));
  }
  return text;
}

Json chain_json(const LoadedChain& chain) {
  Json out;
  if (!chain.warning.empty()) out["warning"] = chain.warning;
  if (!chain.manifest) return out;
  const ChainManifest& manifest = *chain.manifest;
  out["variant"] = manifest.variant.name;
  for (const DistilledLayer& layer : manifest.distilled) {
    if (layer.variant) out["layer_variants"][std::to_string(layer.layer)] = layer.variant->name;
  }
  out["distilled"] = chain.layers.size();
  out["order_method"] = manifest.order_method;
  out["program"] = manifest.program;
  out["version"] = manifest.version;
  for (const Line& line : lines_of(chain)) {
    out["plans"].push_back({{"plan", line.plan},
                            {"layer", line.layer},
                            {"state", line.state},
                            {"entropy", number_json(line.entropy)},
                            {"layer_kl", number_json(line.layer_kl)},
                            {"kl", number_json(line.kl)},
                            {"perplexity_ratio", number_json(line.perplexity_ratio)},
                            {"quality", number_json(line.quality)}});
  }
  return out;
}

}  // namespace dslad::worker
