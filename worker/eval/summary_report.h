// A summary as people read it and as programs do. Pure.
//
// JSON: {"measured_by", "model", "digest", "dtype", "plans": [headline], "files": [file]}, where
//   headline  {"plan", "kl", "perplexity_ratio", "quality"}, null where nothing was measured
//   file      {"file", "kind", "items", "documents", "skipped", "tokens"?, "plans": [plan]}
//   plan      {"plan", "perplexity"?, NAME: score, ..., "by_length"?: [group], "by_kind"?: [group]}
//   group     {"group", "items", NAME: score, ...}
//   score     {"mean", "low", "high", "ratio", "ratio_low", "ratio_high"}: the ends are the bootstrap's
// A ratio is null where plan 0's score is 0.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "worker/eval/summary.h"

namespace dslad::worker {

nlohmann::ordered_json to_json(const ScoreSummary& score);
nlohmann::ordered_json to_json(const PlanSummary& plan);
nlohmann::ordered_json to_json(const FileSummary& file);
nlohmann::ordered_json to_json(const PlanHeadline& headline);

// One block of lines a file: a table by plan, then one by plan and length and one by plan and label.
std::string to_table(const FileSummary& file);
// One line a plan.
std::string to_table(std::span<const PlanHeadline> headlines);

}  // namespace dslad::worker
