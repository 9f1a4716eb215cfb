// How a worker distils in idle time, as its command line says it. Plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace dslad::worker {

struct IdleSettings {
  std::filesystem::path model;           // the worker's, beside which the chain lies
  std::filesystem::path tool;            // dslad-model
  std::string dtype;                     // that the worker serves with, and plans are measured with
  std::vector<std::string> texts;        // to train on, as `distil --text` reads them
  std::uint64_t recent_budget = 0;       // bytes of jobs' documents to keep and to train on; 0: none
  std::vector<std::string> measured_on;  // as `eval` reads them
  std::vector<std::string> options;      // more of `distil`
  int layers = 0;                        // to distil in all; 0: every layer
  double min_quality = 0.95;             // below which a plan is not published
  int cpus = 1;                          // that the child may use
  std::size_t memory_bytes = 0;          // that it may take
};

// The words of `text`, which is split at white space.
std::vector<std::string> split_words(const std::string& text);

// Whether distilling could begin so. Reads the files to measure on. Errors: kInvalidArgument, kNotFound and
// those of load_eval_data, each with what to do.
Status check_settings(const IdleSettings& settings);

// Fingerprint of what training depends on and the worker decides: options, this version with its defaults,
// texts by name, size and time. Kept cheap, as it is taken often. kNotFound: a text is gone.
Result<std::string> recipe_of(const IdleSettings& settings);
// The same of what a plan is measured with.
Result<std::string> measurement_of(const IdleSettings& settings);

}  // namespace dslad::worker
