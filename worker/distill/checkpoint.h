// Where a run stands, on disk: enough to go on with the same losses as if it had never stopped.
//
//   DIR/checkpoint.json                   the state, and the name of
//   DIR/checkpoint-<number>.safetensors   values, stage_start, first_moment, second_moment [parameters] f32
// The tensors are written first and the state, which replaces the older one atomically, names them: a kill or
// a full disk at any moment leaves the older checkpoint whole. Functions of their arguments; one writer at a
// time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/distill/batch_source.h"

namespace dslad::worker {

struct TrainingState {
  int layer = 0;
  int stage = 0;                     // index of the stage in the recipe
  std::int64_t step = 0;             // of the stage, the next to be done
  std::int64_t optimizer_steps = 0;  // done
  BatchCursor cursor;
  std::int64_t log_bytes = 0;      // of the log when this was written
  std::int64_t number = 0;         // of the checkpoint; grows
  std::int64_t tokens = 0;         // trained on so far
  std::vector<double> kl, ce;      // held out: as initialised, and after each stage that is done
  std::vector<double> reached_kl;  // the same, what an undone stage had reached included
};

struct Checkpoint {
  TrainingState state;
  // Of equal size; `stage_start` has the values with which the stage began.
  std::vector<float> values, stage_start, first_moment, second_moment;
};

Status save_checkpoint(const std::filesystem::path& dir, const Checkpoint& checkpoint);

// Nothing when there is none. Errors: kCorrupt, kInvalidArgument (names the file and the field),
// kUnavailable.
Result<std::optional<Checkpoint>> load_checkpoint(const std::filesystem::path& dir);

Status remove_checkpoint(const std::filesystem::path& dir);

}  // namespace dslad::worker
