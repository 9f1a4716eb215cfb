#include "worker/idle/next_step.h"

#include <algorithm>
#include <fmt/format.h>

namespace dslad::worker {
namespace {

int distilled(const std::optional<ChainManifest>& chain) {
  return chain ? static_cast<int>(chain->distilled.size()) : 0;
}

std::optional<int> layer_at(const std::optional<ChainManifest>& chain, int position) {
  if (!chain || position >= static_cast<int>(chain->order.size())) return std::nullopt;
  return chain->order[static_cast<std::size_t>(position)];
}

// Whether the chain that serves is another than the one that the stage continues.
bool replaced(const IdleFacts& facts) {
  const std::optional<int>& keep = facts.record->keep;
  if (keep.value_or(0) > distilled(facts.published)) return true;
  if (facts.staged) return facts.published && !continues(*facts.staged, *facts.published);
  return keep.has_value() != facts.published.has_value() || keep.value_or(0) != distilled(facts.published);
}

// Whether the recent documents that the stage is distilled on are there no more, or were none.
bool lost_texts(const IdleFacts& facts) {
  return !facts.frozen && (facts.record->recent_bytes > 0 || !facts.has_texts);
}

// Whether so many more documents have come that a layer which failed deserves another try.
bool many_more_documents(const IdleFacts& facts) {
  return facts.recent_bytes.value_or(0) >= std::max(2 * facts.record->recent_bytes, kLeastRecentBytes);
}

IdleStep judge(const IdleFacts& facts, int plan) {
  const int layer = facts.staged->distilled[static_cast<std::size_t>(plan - 1)].layer;
  const PlanQuality* measured = facts.staged->quality_of(plan);
  if (measured == nullptr || measured->scores.empty() || facts.record->measured != facts.measurement) {
    return MeasurePlan{plan, layer};
  }
  const std::optional<double> quality = measured->quality;
  // What nothing is known of counts as below every floor but 0, here as in the policy.
  if (facts.min_quality <= 0 || quality.value_or(-1) >= facts.min_quality) {
    return PublishPlan{plan, layer, quality};
  }
  if (!quality) {
    return RejectPlan{plan, layer, quality,
                      fmt::format("plan {} has no quality: plan 0 itself scores nothing on the files of "
                                  "--distil-eval, or they ask for no answers",
                                  plan)};
  }
  const std::string kl = measured->kl ? fmt::format(" (kl {:.4f})", *measured->kl) : "";
  return RejectPlan{
      plan, layer, quality,
      fmt::format("plan {} has quality {:.3f}{}, below {:.3f}", plan, *quality, kl, facts.min_quality)};
}

}  // namespace

bool continues(const ChainManifest& chain, const ChainManifest& first) {
  if (chain.teacher_digest != first.teacher_digest || chain.order != first.order) return false;
  const auto same = [&](const DistilledLayer& ours, const DistilledLayer& theirs) {
    return ours.layer == theirs.layer && ours.checksum == theirs.checksum &&
           chain.variant_of(ours) == first.variant_of(theirs);
  };
  const auto [here, there] = std::ranges::mismatch(chain.distilled, first.distilled, same);
  return there == first.distilled.end();
}

IdleStep next_step(const IdleFacts& facts) {
  const int published = distilled(facts.published);
  if (published >= facts.layers) return NothingLeft{};
  const auto begin = [&](std::string why) -> IdleStep {
    if (!facts.has_texts && facts.recent_bytes.value_or(0) < kLeastRecentBytes) return AwaitDocuments{};
    return BeginStage{facts.published ? std::optional(published) : std::nullopt, std::move(why)};
  };
  if (!facts.record) return begin("");
  if (replaced(facts)) return begin("the chain was replaced");
  // A layer that is finished counts, whatever its texts have become: they may grow all the time.
  const int plan = published + 1;
  const bool finished = distilled(facts.staged) >= plan;
  IdleStep next = finished ? judge(facts, plan) : NothingLeft{};
  if (finished && !std::holds_alternative<RejectPlan>(next)) return next;
  if (facts.record->recipe != facts.recipe) return begin("the options, the texts or the version are others");
  if (finished) return many_more_documents(facts) ? begin("there are twice as many recent documents") : next;
  if (lost_texts(facts)) return begin("its documents are gone");
  if (facts.recent_bytes && facts.record->keep.value_or(0) != published) return begin("");
  const auto& ordered = facts.staged ? facts.staged : facts.published;
  return DistilLayer{facts.record->keep, plan, layer_at(ordered, published)};
}

std::vector<int> layers_to_come(const IdleFacts& facts, const IdleStep& next) {
  if (std::holds_alternative<NothingLeft>(next) || std::holds_alternative<RejectPlan>(next)) return {};
  // A stage that is begun anew has the order of the chain that serves, or decides one.
  const bool discarded =
      std::holds_alternative<BeginStage>(next) || std::holds_alternative<AwaitDocuments>(next);
  const auto& ordered = facts.staged && !discarded ? facts.staged : facts.published;
  std::vector<int> layers;
  for (int position = distilled(facts.published); position < facts.layers; ++position) {
    if (const std::optional<int> layer = layer_at(ordered, position)) layers.push_back(*layer);
  }
  return layers;
}

}  // namespace dslad::worker
