#include "worker/distill/joint_checkpoint.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "worker/distill/checkpoint.h"
#include "worker/files/atomic_file.h"
#include "worker/files/json_fields.h"
#include "worker/files/json_file.h"
#include "worker/model/safetensors.h"
#include "worker/model/safetensors_writer.h"

namespace dslad::worker {
namespace {

constexpr const char* kJointStateFile = "joint.json";
constexpr const char* kJointTensors = "joint-";
constexpr std::size_t kMaxJointStateBytes = 1 << 20;
constexpr std::int64_t kAnyCount = std::int64_t{1} << 60;

std::string joint_tensors_file(std::int64_t number) {
  return fmt::format("{}{}.safetensors", kJointTensors, number);
}

std::string part_name(int layer, std::string_view part) {
  return fmt::format("{}.{}", layer, part);
}

Result<JointState> parse_joint_state(const nlohmann::json& json, const std::string& name) {
  JsonFields fields(json, name);
  JointState state;
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
  const auto written = write_safetensors(dir / joint_tensors_file(state.number), tensors);
  if (!written) return written.error();
  const nlohmann::ordered_json json = {{"layers", state.layers},    {"done", state.done},
                                       {"step", state.step},        {"epoch", state.cursor.epoch},
                                       {"next", state.cursor.next}, {"log_bytes", state.log_bytes},
                                       {"number", state.number},    {"tokens", state.tokens}};
  Status replaced = write_file(dir / kJointStateFile, json.dump(1) + "\n");
  if (!replaced) return replaced;
  std::error_code ignored;  // an old file left behind costs space, not correctness
  std::filesystem::remove(dir / joint_tensors_file(state.number - 1), ignored);
  return ok_status();
}

Result<std::optional<JointState>> load_joint_state(const std::filesystem::path& dir) {
  if (std::error_code missing; !std::filesystem::exists(dir / kJointStateFile, missing))
    return std::optional<JointState>();
  const auto json = load_json(dir / kJointStateFile, kMaxJointStateBytes);
  if (!json) return json.error();
  auto state = parse_joint_state(*json, (dir / kJointStateFile).string());
  if (!state) return state.error();
  return std::optional(*std::move(state));
}

Result<LoadedJointLayer> load_joint_layer(const std::filesystem::path& dir, const JointState& state,
                                          int layer, std::size_t parameters) {
  const std::filesystem::path path = dir / joint_tensors_file(state.number);
  const auto file = SafetensorsFile::open(path);
  if (!file) return file.error();
  LoadedJointLayer loaded;
  const auto read = [&](std::string_view part, std::vector<float>& out) -> Status {
    Status done = read_tensor(*file, path.string(), part_name(layer, part), out);
    if (!done || out.size() == parameters) return done;
    return Error{
        ErrorCode::kInvalidArgument,
        fmt::format("{}: the layer-wise stage holds {} parameters of layer {}, which has {}; remove {} "
                    "to begin the stage anew",
                    path.string(), out.size(), layer, parameters, kJointStateFile)};
  };
  Status status = read("values", loaded.values);
  if (status && !state.done) status = read("first_moment", loaded.first_moment);
  if (status && !state.done) status = read("second_moment", loaded.second_moment);
  if (!status) return status.error();
  return loaded;
}

Status remove_joint_checkpoint(const std::filesystem::path& dir) {
  return remove_checkpoint_files(dir, kJointStateFile, kJointTensors);
}

}  // namespace dslad::worker
