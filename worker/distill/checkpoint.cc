#include "worker/distill/checkpoint.h"

#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>

#include "worker/files/atomic_file.h"
#include "worker/files/json_fields.h"
#include "worker/files/json_file.h"
#include "worker/model/safetensors.h"
#include "worker/model/safetensors_writer.h"

namespace dslad::worker {
namespace {

constexpr const char* kStateFile = "checkpoint.json";
constexpr const char* kTensors = "checkpoint-";
constexpr std::size_t kMaxStateBytes = 1 << 20;
constexpr std::int64_t kAny = std::int64_t{1} << 60;

std::string tensors_file(std::int64_t number) {
  return fmt::format("{}{}.safetensors", kTensors, number);
}

std::vector<double> numbers(JsonFields& fields, const char* key) {
  std::vector<double> out;
  const nlohmann::json* array = fields.find(key);
  if (array == nullptr || !array->is_array()) {
    fields.refuse(key, "must be a list of numbers");
    return out;
  }
  for (const nlohmann::json& value : *array) {  // JSON has no NaN: it was written as null
    out.push_back(value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN());
  }
  return out;
}

Result<TrainingState> parse_state(const nlohmann::json& json, const std::string& name) {
  JsonFields fields(json, name);
  TrainingState state;
  state.layer = static_cast<int>(fields.integer("layer", 0, 1023));
  state.stage = static_cast<int>(fields.integer("stage", 0, 15));
  state.step = fields.integer("step", 0, kAny);
  state.optimizer_steps = fields.integer("optimizer_steps", 0, kAny);
  state.cursor = {fields.integer("epoch", 0, kAny), fields.integer("next", 0, kAny)};
  state.log_bytes = fields.integer("log_bytes", 0, kAny);
  state.number = fields.integer("number", 0, kAny);
  state.tokens = fields.integer("tokens", 0, kAny);
  state.kl = numbers(fields, "kl");
  state.ce = numbers(fields, "ce");
  state.reached_kl = numbers(fields, "reached_kl");
  if (state.ce.size() != state.kl.size() || state.reached_kl.size() != state.kl.size()) {
    fields.refuse("reached_kl", "must be as long as kl and ce");
  }
  if (!fields.status()) return fields.status().error();
  return state;
}

}  // namespace

Status save_checkpoint(const std::filesystem::path& dir, const Checkpoint& checkpoint) {
  const TrainingState& s = checkpoint.state;
  const auto size = static_cast<std::int64_t>(checkpoint.values.size());
  const std::vector<TensorToWrite> tensors = {
      {"values", {size}, checkpoint.values, kernels::DType::kF32},
      {"stage_start", {size}, checkpoint.stage_start, kernels::DType::kF32},
      {"first_moment", {size}, checkpoint.first_moment, kernels::DType::kF32},
      {"second_moment", {size}, checkpoint.second_moment, kernels::DType::kF32}};
  const auto written = write_safetensors(dir / tensors_file(s.number), tensors);
  if (!written) return written.error();
  const nlohmann::ordered_json json = {{"layer", s.layer},
                                       {"stage", s.stage},
                                       {"step", s.step},
                                       {"optimizer_steps", s.optimizer_steps},
                                       {"epoch", s.cursor.epoch},
                                       {"next", s.cursor.next},
                                       {"log_bytes", s.log_bytes},
                                       {"number", s.number},
                                       {"tokens", s.tokens},
                                       {"kl", s.kl},
                                       {"ce", s.ce},
                                       {"reached_kl", s.reached_kl}};
  Status replaced = write_file(dir / kStateFile, json.dump(1) + "\n");
  if (!replaced) return replaced;
  std::error_code ignored;  // an old file left behind costs space, not correctness
  std::filesystem::remove(dir / tensors_file(s.number - 1), ignored);
  return ok_status();
}

Result<std::optional<Checkpoint>> load_checkpoint(const std::filesystem::path& dir) {
  if (std::error_code missing; !std::filesystem::exists(dir / kStateFile, missing))
    return std::optional<Checkpoint>();
  const auto json = load_json(dir / kStateFile, kMaxStateBytes);
  if (!json) return json.error();
  auto state = parse_state(*json, (dir / kStateFile).string());
  if (!state) return state.error();
  const std::filesystem::path path = dir / tensors_file(state->number);
  const auto file = SafetensorsFile::open(path);
  if (!file) return file.error();
  Checkpoint checkpoint{*std::move(state), {}, {}, {}, {}};
  Status read = read_tensor(*file, path.string(), "values", checkpoint.values);
  if (read) read = read_tensor(*file, path.string(), "stage_start", checkpoint.stage_start);
  if (read) read = read_tensor(*file, path.string(), "first_moment", checkpoint.first_moment);
  if (read) read = read_tensor(*file, path.string(), "second_moment", checkpoint.second_moment);
  if (!read) return read.error();
  return std::optional(std::move(checkpoint));
}

Status read_tensor(const SafetensorsFile& file, const std::string& path, std::string_view name,
                   std::vector<float>& out) {
  for (const TensorView& view : file.tensors()) {
    if (view.name != name) continue;
    out.resize(static_cast<std::size_t>(view.elements()));
    return read_rows(view, 0, view.rows(), out.data());
  }
  return Error{ErrorCode::kInvalidArgument, fmt::format("{}: the tensor '{}' is missing", path, name)};
}

Status remove_checkpoint_files(const std::filesystem::path& dir, const std::string& state,
                               std::string_view tensors) {
  std::error_code error;
  std::filesystem::remove(dir / state, error);
  if (error)
    return Error{ErrorCode::kUnavailable, fmt::format("{}: {}", (dir / state).string(), error.message())};
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    const std::string name = entry.path().filename().string();
    const bool whole = name.ends_with(".safetensors"), begun = name.ends_with(".safetensors.tmp");
    if (name.starts_with(tensors) && (whole || begun)) std::filesystem::remove(entry.path(), error);
  }
  return ok_status();
}

Status remove_checkpoint(const std::filesystem::path& dir) {
  return remove_checkpoint_files(dir, kStateFile, kTensors);
}

}  // namespace dslad::worker
