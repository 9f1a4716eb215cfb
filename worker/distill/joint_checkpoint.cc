#include "worker/distill/joint_checkpoint.h"

#include <algorithm>
#include <fmt/format.h>

#include "worker/distill/checkpoint_files.h"
#include "worker/files/json_fields.h"

namespace dslad::worker {
namespace {

constexpr std::int64_t kAnyCount = std::int64_t{1} << 60;

CheckpointFiles joint_files_in(const std::filesystem::path& dir, Stage stage) {
  if (stage == Stage::kChained) return {dir, "joint_chained.json", "joint_chained-"};
  return {dir, "joint.json", "joint-"};
}

std::string part_name(int layer, std::string_view part) {
  return fmt::format("{}.{}", layer, part);
}

Result<JointState> parse_joint_state(const nlohmann::json& json, const std::string& name, Stage stage) {
  JsonFields fields(json, name);
  JointState state;
  state.stage = stage;
  for (const std::int64_t layer : fields.integers("layers", 0, 1023)) {
    state.layers.push_back(static_cast<int>(layer));
  }
  if (state.layers.empty()) fields.refuse("layers", "must name a layer");
  state.done = fields.boolean("done");
  state.step = fields.integer("step", 0, kAnyCount);
  state.cursor = {fields.integer("epoch", 0, kAnyCount), fields.integer("next", 0, kAnyCount)};
  state.log_bytes = fields.integer("log_bytes", 0, kAnyCount);
  state.number = fields.integer("number", 0, kAnyCount);
  state.tokens = fields.integer("tokens", 0, kAnyCount);
  if (!fields.status()) return fields.status().error();
  return state;
}

}  // namespace

bool JointState::has(int layer) const {
  return std::ranges::find(layers, layer) != layers.end();
}

Status save_joint_checkpoint(const std::filesystem::path& dir, const JointState& state,
                             const std::map<int, JointLayer>& layers) {
  std::vector<TensorToWrite> tensors;
  const auto add = [&](int layer, std::string_view part, std::span<const float> values) {
    if (values.empty()) return;
    tensors.push_back({part_name(layer, part), {std::ssize(values)}, values, kernels::DType::kF32});
  };
  for (const auto& [layer, its] : layers) {
    add(layer, "values", its.values);
    add(layer, "first_moment", its.first_moment);
    add(layer, "second_moment", its.second_moment);
  }
  const nlohmann::ordered_json json = {{"layers", state.layers},    {"done", state.done},
                                       {"step", state.step},        {"epoch", state.cursor.epoch},
                                       {"next", state.cursor.next}, {"log_bytes", state.log_bytes},
                                       {"number", state.number},    {"tokens", state.tokens}};
  return joint_files_in(dir, state.stage).replace(state.number, json, tensors);
}

Result<std::optional<JointState>> load_joint_state(const std::filesystem::path& dir, Stage stage) {
  const CheckpointFiles files = joint_files_in(dir, stage);
  const auto json = files.load_state();
  if (!json) return json.error();
  if (!json->has_value()) return std::optional<JointState>();
  auto state = parse_joint_state(**json, files.state().string(), stage);
  if (!state) return state.error();
  return std::optional(*std::move(state));
}

Result<LoadedJointLayer> load_joint_layer(const std::filesystem::path& dir, const JointState& state,
                                          int layer, std::size_t parameters) {
  const CheckpointFiles files = joint_files_in(dir, state.stage);
  const auto file = files.open_tensors(state.number);
  if (!file) return file.error();
  LoadedJointLayer loaded;
  const auto read = [&](std::string_view part, std::vector<float>& out) -> Status {
    Status done = files.read_tensor(*file, state.number, part_name(layer, part), out);
    if (!done || out.size() == parameters) return done;
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}: the {} stage holds {} parameters of layer {}, which has {}; remove {} "
                             "to begin the stage anew",
                             files.tensors(state.number).string(), to_string(state.stage), out.size(), layer,
                             parameters, files.state().filename().string())};
  };
  Status status = read("values", loaded.values);
  if (status && !state.done) status = read("first_moment", loaded.first_moment);
  if (status && !state.done) status = read("second_moment", loaded.second_moment);
  if (!status) return status.error();
  return loaded;
}

Status remove_joint_checkpoint(const std::filesystem::path& dir, Stage stage) {
  return joint_files_in(dir, stage).remove();
}

}  // namespace dslad::worker
