#include "worker/eval/summary_report.h"

#include <cmath>
#include <fmt/format.h>
#include <vector>

namespace dslad::worker {
namespace {

using nlohmann::ordered_json;

struct Column {
  const char* score;
  const char* title;
};

std::vector<Column> columns_of(DataKind kind) {
  switch (kind) {
    case DataKind::kQa:
      return {{"exact_match", "exact match"}, {"f1", "F1"}, {"contains", "contains"}};
    case DataKind::kSummarize:
      return {{"rouge1", "ROUGE-1"}, {"rouge2", "ROUGE-2"}, {"rougeL", "ROUGE-L"}};
    case DataKind::kChoice:
      return {{"accuracy", "accuracy"}};
    case DataKind::kText:
      break;
  }
  return {};
}

ordered_json or_null(const std::optional<double>& value) {
  return value ? ordered_json(*value) : ordered_json(nullptr);
}

ordered_json groups_json(const std::vector<GroupSummary>& groups) {
  ordered_json out = ordered_json::array();
  for (const GroupSummary& group : groups) {
    ordered_json one = {{"group", group.name}, {"items", group.items}};
    for (const auto& [name, score] : group.scores) one[name] = to_json(score);
    out.push_back(std::move(one));
  }
  return out;
}

// "0.951 [0.870, 1.000]"
std::string cell(double value, const std::optional<Interval>& interval) {
  if (!interval) return fmt::format("{:.3f}", value);
  return fmt::format("{:.3f} [{:.3f}, {:.3f}]", value, interval->low, interval->high);
}

std::string score_table(const FileSummary& file) {
  const std::vector<Column> columns = columns_of(file.kind);
  std::string out = fmt::format("{:>6}", "plan");
  for (const Column& column : columns) out += fmt::format("  {:>20}  {:>20}", column.title, "/ plan 0");
  out += '\n';
  for (const PlanSummary& plan : file.plans) {
    out += fmt::format("{:>6}", plan.plan);
    for (const Column& column : columns) {
      const ScoreSummary& score = plan.scores.at(column.score);
      out += fmt::format("  {:>20}  {:>20}", cell(score.mean, score.intervals.mean),
                         score.ratio ? cell(*score.ratio, score.intervals.ratio) : "-");
    }
    out += '\n';
  }
  return out;
}

std::string text_table(const FileSummary& file) {
  std::string out = fmt::format("{:>6}  {:>10}  {:>10}  {:>10}  {:>10}\n", "plan", "nats/token", "perplexity",
                                "/plan 0", "KL");
  const double baseline = file.plans.front().scores.at("nats").mean;
  for (const PlanSummary& plan : file.plans) {
    const double nats = plan.scores.at("nats").mean;
    out += fmt::format("{:>6}  {:>10.4f}  {:>10.3f}  {:>10.4f}  {:>10.5f}\n", plan.plan, nats, std::exp(nats),
                       std::exp(nats - baseline), plan.scores.at("kl").mean);
  }
  return out;
}

// Plans down, groups across; a cell holds the kind's scores.
std::string group_table(const FileSummary& file, const char* title,
                        const std::vector<GroupSummary> PlanSummary::*groups) {
  if ((file.plans.front().*groups).empty()) return "";
  std::vector<Column> columns = columns_of(file.kind);
  if (file.kind == DataKind::kSummarize) columns.erase(columns.begin(), columns.end() - 1);  // ROUGE-L alone
  std::string heading;
  for (const Column& column : columns)
    heading += fmt::format("{}{}", heading.empty() ? "" : " / ", column.title);
  std::string out = fmt::format("  by {}: {}\n{:>6}", title, heading, "plan");
  for (const GroupSummary& group : file.plans.front().*groups) {
    out += fmt::format("  {:>21}", fmt::format("{} ({})", group.name, group.items));
  }
  out += '\n';
  for (const PlanSummary& plan : file.plans) {
    out += fmt::format("{:>6}", plan.plan);
    for (const GroupSummary& group : plan.*groups) {
      std::string scores;
      for (const Column& column : columns) {
        scores += fmt::format("{}{:.3f}", scores.empty() ? "" : " / ", group.scores.at(column.score).mean);
      }
      out += fmt::format("  {:>21}", scores);
    }
    out += '\n';
  }
  return out;
}

}  // namespace

ordered_json to_json(const ScoreSummary& score) {
  const Interval& mean = score.intervals.mean;
  const std::optional<Interval>& ratio = score.intervals.ratio;
  const auto end = [&](double Interval::*which) {
    return ratio ? ordered_json((*ratio).*which) : ordered_json(nullptr);
  };
  return {{"mean", score.mean},
          {"low", mean.low},
          {"high", mean.high},
          {"ratio", or_null(score.ratio)},
          {"ratio_low", end(&Interval::low)},
          {"ratio_high", end(&Interval::high)}};
}

ordered_json to_json(const PlanSummary& plan) {
  ordered_json out = {{"plan", plan.plan}};
  if (plan.scores.contains("nats")) out["perplexity"] = std::exp(plan.scores.at("nats").mean);
  for (const auto& [name, score] : plan.scores) out[name] = to_json(score);
  if (!plan.by_length.empty()) out["by_length"] = groups_json(plan.by_length);
  if (!plan.by_distance.empty()) out["by_distance"] = groups_json(plan.by_distance);
  if (!plan.by_kind.empty()) out["by_kind"] = groups_json(plan.by_kind);
  return out;
}

ordered_json to_json(const FileSummary& file) {
  ordered_json out = {{"file", file.file},
                      {"kind", to_string(file.kind)},
                      {"items", file.items},
                      {"documents", file.documents},
                      {"skipped", file.skipped}};
  if (file.kind == DataKind::kText) out["tokens"] = file.weight;
  out["plans"] = ordered_json::array();
  for (const PlanSummary& plan : file.plans) out["plans"].push_back(to_json(plan));
  return out;
}

ordered_json to_json(const PlanHeadline& headline) {
  return {{"plan", headline.plan},
          {"kl", or_null(headline.kl)},
          {"perplexity_ratio", or_null(headline.perplexity_ratio)},
          {"quality", or_null(headline.quality)}};
}

std::string to_table(const FileSummary& file) {
  std::string out = fmt::format("{} ({}): {} items", file.file, to_string(file.kind), file.items);
  if (file.documents > 1 && file.documents < file.items)
    out += fmt::format(" of {} documents", file.documents);
  if (file.kind == DataKind::kText) out += fmt::format(", {:.0f} tokens scored", file.weight);
  if (file.skipped > 0) out += fmt::format("; {} skipped: beyond the model's context", file.skipped);
  out += '\n';
  if (file.items == 0) return out;
  if (file.kind == DataKind::kText) return out + text_table(file);
  return out + score_table(file) + group_table(file, "document tokens", &PlanSummary::by_length) +
         group_table(file, "tokens from the fact to the end", &PlanSummary::by_distance) +
         group_table(file, "kind", &PlanSummary::by_kind);
}

std::string to_table(std::span<const PlanHeadline> headlines) {
  const auto shown = [](const std::optional<double>& value, int digits) {
    return value ? fmt::format("{:.{}f}", *value, digits) : std::string("-");
  };
  std::string out =
      fmt::format("{:>6}  {:>16}  {:>16}  {:>10}\n", "plan", "generated scores", "perplexity ratio", "KL");
  for (const PlanHeadline& line : headlines) {
    out += fmt::format("{:>6}  {:>16}  {:>16}  {:>10}\n", line.plan, shown(line.quality, 3),
                       shown(line.perplexity_ratio, 4), shown(line.kl, 5));
  }
  return out;
}

}  // namespace dslad::worker
