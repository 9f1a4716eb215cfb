// Where a stage of several layers at once stands, on disk, and when it is done what they have learned.
//
//   DIR/joint.json                   the state, and the name of
//   DIR/joint-<number>.safetensors   by layer <l>.values and, until all is done, <l>.first_moment and
//                                    <l>.second_moment [parameters] f32
// of the layer-wise stage, and joint_chained.json with joint_chained-<number>.safetensors of the chained one:
// what layers to come have learned in the first outlives the second. Written in the order of
// checkpoint_files.h; checkpoint.h keeps what the stages after this one need. Functions of their arguments;
// one writer at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "worker/distill/batch_source.h"
#include "worker/distill/distil_options.h"

namespace dslad::worker {

struct JointState {
  Stage stage = Stage::kLayerwise;  // or chained
  std::vector<int> layers;          // that learn; not empty
  bool done = false;
  std::int64_t step = 0;  // the next to be done
  BatchCursor cursor;
  std::int64_t log_bytes = 0;  // of the log when this was written
  std::int64_t number = 0;     // of the checkpoint; grows
  std::int64_t tokens = 0;     // trained on so far, by all steps

  [[nodiscard]] bool has(int layer) const;
};

// Of one layer, of equal size; once all is done its values alone.
struct JointLayer {
  std::span<const float> values, first_moment, second_moment;
};

// `layers`: those of the state.
Status save_joint_checkpoint(const std::filesystem::path& dir, const JointState& state,
                             const std::map<int, JointLayer>& layers);

// Nothing when there is none. Errors: kCorrupt, kInvalidArgument (names the file and the field),
// kUnavailable.
Result<std::optional<JointState>> load_joint_state(const std::filesystem::path& dir, Stage stage);

struct LoadedJointLayer {
  std::vector<float> values, first_moment, second_moment;
};

// A layer of the state, each part of `parameters` numbers. Errors: those of reading; kInvalidArgument where
// it has another size.
Result<LoadedJointLayer> load_joint_layer(const std::filesystem::path& dir, const JointState& state,
                                          int layer, std::size_t parameters);

Status remove_joint_checkpoint(const std::filesystem::path& dir, Stage stage);

}  // namespace dslad::worker
