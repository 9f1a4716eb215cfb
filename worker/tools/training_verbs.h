// The verbs of dslad-model that make a conversion chain: sensitivity, distil, report. Results to stdout,
// progress and errors to stderr; each returns the exit status: 0, or 1 when it failed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "worker/distill/distil_options.h"
#include "worker/tools/training_data.h"

namespace CLI {
class App;
}

namespace dslad::worker {

struct TrainingArguments {
  std::string model;  // a Hugging Face directory
  std::string out;    // the chain's folder; empty: MODEL/dsla
  TrainingDataOptions data;
  std::vector<std::string> tasks;  // more files, after data.files
  // Tokens of a sequence, at most; absent: the default, or the model's context.
  std::optional<std::int64_t> sequence;
  DistilOptions options;
  std::string variant;                      // empty: of the chain that is gone on with, else dslad
  std::vector<std::string> layer_variants;  // LAYER=VARIANT
  std::vector<std::string> stages;          // LOSS,steps=N and so on (stage_option.h)
  std::string from;                         // folder of a chain to begin with; empty: none
  std::optional<int> keep;                  // of its layers; absent: all
  std::string warm_start;  // folder of a chain whose layers are where training starts; empty: none
  std::string students;    // folder for what sensitivity measures with; empty: that is thrown away
  std::string target = "attention", compute = "bf16", stored = "bf16";
  std::optional<double> projection_rate;  // absent: by the variant
  std::string order;                      // a method or a file; empty: what the folder says, else kl
  int layers = 0;                         // to distil in all; 0: every layer
  int threads = 0;                        // 0: one for each processor
  double checkpoint_seconds = 60;
  std::optional<std::uint64_t> budget_ms;  // for all of the run, which then decides its steps itself
  int joint_chained = 0;                   // 1 and -1: yes and no; 0: with a budget alone
  bool resume = false;
  bool json = false;
};

// Adds the options of both verbs, or those of one alone.
void add_training_options(CLI::App& verb, TrainingArguments& arguments);
void add_sensitivity_options(CLI::App& verb, TrainingArguments& arguments);
void add_distil_options(CLI::App& verb, TrainingArguments& arguments);

// Measures entropy and divergence of each layer, decides the order, and stores both in the chain's manifest.
int sensitivity(TrainingArguments arguments);

// Distils the chain.
int distil(TrainingArguments arguments);

struct ReportArguments {
  std::string chain;  // the chain's folder, or the model's that has one in dsla/
  std::string out;    // the page; empty: report.html beside the chain
};

void add_report_options(CLI::App& verb, ReportArguments& arguments);

// Writes the chain's page and prints its path.
int report(const ReportArguments& arguments);

}  // namespace dslad::worker
