// What a run within a budget has used of it and decided, on disk: DIR/budget.json (docs/formats.md), replaced
// as a whole. It goes on by the same decisions after a stop, and its time does not begin anew.
//
// Plain values and functions of their arguments; one writer at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/result.h"

namespace dslad::worker {

// A stage's length, which its learning rates follow, and where time ended it before that.
struct DecidedSteps {
  std::int64_t steps = 0;
  std::optional<std::int64_t> ended_at;
};

struct BudgetRecord {
  nlohmann::json recipe;  // what the run must not change
  double used = 0;        // seconds, by all of its processes
  // Measured, in seconds: a layer-wise step, and a layer's forward pass over one token (allotment.h).
  double joint_step = 0, pass = 0;
  DecidedSteps layerwise;
  std::int64_t held_out = 0;                  // tokens to measure on
  std::map<int, DecidedSteps> chained;        // by layer, of those that were begun
  int joint_layers = 0;                       // that learn in it
  std::optional<DecidedSteps> joint_chained;  // of all layers at once, where it was begun

  // The decisions, for the chain's recipe.
  [[nodiscard]] nlohmann::json decisions() const;
};

Status save_budget_record(const std::filesystem::path& dir, const BudgetRecord& record);

// Nothing when there is none. Errors: kCorrupt, kInvalidArgument (names the file and the field).
Result<std::optional<BudgetRecord>> load_budget_record(const std::filesystem::path& dir);

}  // namespace dslad::worker
