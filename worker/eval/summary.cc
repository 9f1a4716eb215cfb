#include "worker/eval/summary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

namespace dslad::worker {
namespace {

struct LengthGroup {
  const char* name;
  std::int64_t longest;  // tokens
};
constexpr std::array<LengthGroup, 6> kLengths = {{{"<=512", 512},
                                                  {"<=1k", 1024},
                                                  {"<=2k", 2048},
                                                  {"<=4k", 4096},
                                                  {"<=8k", 8192},
                                                  {">8k", std::numeric_limits<std::int64_t>::max()}}};

// An item under some plan and under plan 0.
struct Pair {
  const ScoreRecord* record;
  const ScoreRecord* baseline;
};

// Items of one document lie side by side; windows and choices are each a cluster of their own.
std::vector<ClusterSums> clusters_of(std::span<const Pair> pairs, const std::string& score) {
  std::vector<ClusterSums> clusters;
  const std::string* document = nullptr;
  for (const auto& [record, baseline] : pairs) {
    const std::string& id = record->key.item.id;
    if (document == nullptr || id.empty() || *document != id) clusters.emplace_back();
    document = &id;
    clusters.back().score += record->weight * record->scores.at(score);
    clusters.back().baseline += record->weight * baseline->scores.at(score);
    clusters.back().weight += record->weight;
  }
  return clusters;
}

ScoreSummaries summarize(std::span<const Pair> pairs, std::uint64_t seed) {
  ScoreSummaries summaries;
  if (pairs.empty()) return summaries;
  for (const auto& [name, value] : pairs.front().record->scores) {
    const std::vector<ClusterSums> clusters = clusters_of(pairs, name);
    ClusterSums sums;
    for (const ClusterSums& cluster : clusters) {
      sums.score += cluster.score;
      sums.baseline += cluster.baseline;
      sums.weight += cluster.weight;
    }
    ScoreSummary& summary = summaries[name];
    summary.mean = sums.score / sums.weight;
    if (sums.baseline > 0) summary.ratio = sums.score / sums.baseline;
    summary.intervals = paired_bootstrap(clusters, seed);
  }
  return summaries;
}

// Summarises the items for which `belongs` holds.
template <typename Belongs>
GroupSummary group_of(const std::string& name, std::span<const Pair> pairs, std::uint64_t seed,
                      Belongs belongs) {
  std::vector<Pair> members;
  for (const Pair& pair : pairs) {
    if (belongs(*pair.record)) members.push_back(pair);
  }
  return {name, std::ssize(members), summarize(members, seed)};
}

// By tokens_of(record), an optional number of tokens; items without one are in no group.
template <typename TokensOf>
std::vector<GroupSummary> group_by_tokens(std::span<const Pair> pairs, std::uint64_t seed,
                                          TokensOf tokens_of) {
  std::vector<GroupSummary> groups;
  std::int64_t shorter = -1;  // the longest of the group before
  for (const LengthGroup& length : kLengths) {
    auto group = group_of(length.name, pairs, seed, [&](const ScoreRecord& record) {
      const std::optional<std::int64_t> tokens = tokens_of(record);
      return tokens && *tokens > shorter && *tokens <= length.longest;
    });
    if (group.items > 0) groups.push_back(std::move(group));
    shorter = length.longest;
  }
  return groups;
}

std::vector<GroupSummary> group_by_kind(std::span<const Pair> pairs, std::uint64_t seed) {
  std::vector<std::string> kinds;  // in the order of the data
  for (const Pair& pair : pairs) {
    const std::string& kind = pair.record->kind;
    if (!kind.empty() && std::ranges::find(kinds, kind) == kinds.end()) kinds.push_back(kind);
  }
  std::vector<GroupSummary> groups;
  groups.reserve(kinds.size());
  for (const std::string& kind : kinds) {
    groups.push_back(
        group_of(kind, pairs, seed, [&](const ScoreRecord& record) { return record.kind == kind; }));
  }
  return groups;
}

bool generates(DataKind kind) {
  return kind == DataKind::kQa || kind == DataKind::kSummarize;
}

PlanHeadline headline(std::span<const FileSummary> files, std::size_t plan_index) {
  PlanHeadline line;
  double ratios = 0, tokens = 0, kl = 0, nats = 0, baseline_nats = 0;
  int generated = 0;
  bool comparable = true;
  for (const FileSummary& file : files) {
    const PlanSummary& plan = file.plans[plan_index];
    line.plan = plan.plan;
    if (file.items == 0) continue;
    if (generates(file.kind)) {
      const auto& ratio = plan.scores.at(main_score(file.kind)).ratio;
      comparable = comparable && ratio.has_value();
      ratios += ratio.value_or(0);
      ++generated;
    } else if (file.kind == DataKind::kText) {
      tokens += file.weight;
      kl += file.weight * plan.scores.at("kl").mean;
      nats += file.weight * plan.scores.at("nats").mean;
      baseline_nats += file.weight * file.plans.front().scores.at("nats").mean;
    }
  }
  if (generated > 0 && comparable) line.quality = ratios / generated;
  if (tokens > 0) {
    line.kl = kl / tokens;
    line.perplexity_ratio = std::exp((nats - baseline_nats) / tokens);
  }
  return line;
}

}  // namespace

const char* main_score(DataKind kind) {
  switch (kind) {
    case DataKind::kQa:
      return "f1";
    case DataKind::kSummarize:
      return "rougeL";
    case DataKind::kChoice:
      return "accuracy";
    case DataKind::kText:
      break;
  }
  return "nats";
}

FileSummary summarize_file(const EvalData& data, const EvaluatedFile& evaluated, std::span<const int> plans,
                           const ResultsLog& log, std::uint64_t seed) {
  FileSummary summary;
  summary.file = data.file;
  summary.kind = data.kind;
  summary.items = std::ssize(evaluated.items);
  summary.skipped = evaluated.skipped;
  for (std::size_t i = 0; i < evaluated.items.size(); ++i) {
    if (i == 0 || evaluated.items[i].id != evaluated.items[i - 1].id) ++summary.documents;
    summary.weight += log.find(evaluated.items[i], 0)->weight;
  }
  for (const int plan : plans) {
    std::vector<Pair> pairs;
    for (const ItemKey& item : evaluated.items) pairs.push_back({log.find(item, plan), log.find(item, 0)});
    PlanSummary& out = summary.plans.emplace_back();
    out.plan = plan;
    out.scores = summarize(pairs, seed);
    if (generates(data.kind)) {
      out.by_length = group_by_tokens(pairs, seed,
                                      [](const ScoreRecord& record) { return std::optional(record.tokens); });
    }
    if (data.kind == DataKind::kQa) {
      out.by_distance =
          group_by_tokens(pairs, seed, [](const ScoreRecord& record) { return record.distance; });
    }
    out.by_kind = group_by_kind(pairs, seed);
  }
  return summary;
}

std::vector<PlanHeadline> headlines(std::span<const FileSummary> files, std::span<const int> plans) {
  std::vector<PlanHeadline> lines;
  for (std::size_t i = 0; i < plans.size(); ++i) lines.push_back(headline(files, i));
  return lines;
}

}  // namespace dslad::worker
