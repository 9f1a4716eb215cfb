// The results log, summed up: by file, plan and group of items, each score with its interval and its ratio to
// plan 0's; and one headline a plan. Plain values; pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "worker/eval/bootstrap.h"
#include "worker/eval/eval_data.h"
#include "worker/eval/evaluation.h"
#include "worker/eval/results_log.h"

namespace dslad::worker {

struct ScoreSummary {
  double mean = 0;              // over the items, by weight
  std::optional<double> ratio;  // to plan 0's mean; none where that is 0
  PairedIntervals intervals;
};

using ScoreSummaries = std::map<std::string, ScoreSummary>;  // by the score's name

struct GroupSummary {
  std::string name;
  std::int64_t items = 0;
  ScoreSummaries scores;
};

struct PlanSummary {
  int plan = 0;
  ScoreSummaries scores;                  // of all items
  std::vector<GroupSummary> by_length;    // of the document, in tokens: generated scores only
  std::vector<GroupSummary> by_distance;  // of the fact from the document's end, in tokens: where it is known
  std::vector<GroupSummary> by_kind;      // the data's labels
};

struct FileSummary {
  std::string file;
  DataKind kind = DataKind::kText;
  std::int64_t items = 0, documents = 0, skipped = 0;
  double weight = 0;  // of all items: of a text, the tokens scored
  std::vector<PlanSummary> plans;
};

// One number a kind of measure; absent where no file measures it.
struct PlanHeadline {
  int plan = 0;
  std::optional<double> kl;                // of all text files, by tokens
  std::optional<double> perplexity_ratio;  // to plan 0's, of all text files
  std::optional<double> quality;  // generated scores relative to plan 0's: the mean over qa files of F1's
                                  // ratio and over summarize files of ROUGE-L's
};

// The score that stands for a kind of file: "f1", "rougeL", "accuracy"; "nats" for text.
const char* main_score(DataKind kind);

// REQUIRES: the log holds each item under each plan; plans begin with 0. `seed` is the bootstrap's.
FileSummary summarize_file(const EvalData& data, const EvaluatedFile& evaluated, std::span<const int> plans,
                           const ResultsLog& log, std::uint64_t seed);

std::vector<PlanHeadline> headlines(std::span<const FileSummary> files, std::span<const int> plans);

}  // namespace dslad::worker
