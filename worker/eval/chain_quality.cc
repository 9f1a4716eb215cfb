#include "worker/eval/chain_quality.h"

#include <algorithm>
#include <filesystem>

#include "worker/eval/summary_report.h"

namespace dslad::worker {
namespace {

// The manifest's entry of a plan, made when it has none.
PlanQuality& entry_of(ChainManifest& manifest, int plan) {
  auto at = std::ranges::lower_bound(manifest.plans, plan, {}, &PlanQuality::plan);
  if (at == manifest.plans.end() || at->plan != plan) {
    at = manifest.plans.insert(at, PlanQuality{});
    at->plan = plan;
  }
  return *at;
}

}  // namespace

void add_quality(ChainManifest& manifest, std::span<const PlanHeadline> lines,
                 std::span<const FileSummary> files, std::string_view measured_by) {
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const PlanHeadline& line = lines[i];
    PlanQuality& quality = entry_of(manifest, line.plan);
    if (line.kl) quality.kl = line.kl;
    if (line.perplexity_ratio) quality.perplexity_ratio = line.perplexity_ratio;
    if (line.quality) quality.quality = line.quality;
    for (const FileSummary& file : files) {
      nlohmann::json scores = to_json(file.plans[i]);
      scores["items"] = file.items;
      scores["measured_by"] = measured_by;
      quality.scores[std::filesystem::path(file.file).filename().string()] = std::move(scores);
    }
  }
}

}  // namespace dslad::worker
