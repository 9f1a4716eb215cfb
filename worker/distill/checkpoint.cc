#include "worker/distill/checkpoint.h"

#include <limits>
#include <utility>

#include "worker/distill/checkpoint_files.h"
#include "worker/files/json_fields.h"

namespace dslad::worker {
namespace {

constexpr std::int64_t kAny = std::int64_t{1} << 60;

CheckpointFiles files_in(const std::filesystem::path& dir) {
  return {dir, "checkpoint.json", "checkpoint-"};
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
  return files_in(dir).replace(s.number, json, tensors);
}

Result<std::optional<Checkpoint>> load_checkpoint(const std::filesystem::path& dir) {
  const CheckpointFiles files = files_in(dir);
  const auto json = files.load_state();
  if (!json) return json.error();
  if (!json->has_value()) return std::optional<Checkpoint>();
  auto state = parse_state(**json, files.state().string());
  if (!state) return state.error();
  const auto file = files.open_tensors(state->number);
  if (!file) return file.error();
  Checkpoint checkpoint{*std::move(state), {}, {}, {}, {}};
  Status read = ok_status();
  for (const auto& [name, values] : {std::pair{"values", &checkpoint.values},
                                     {"stage_start", &checkpoint.stage_start},
                                     {"first_moment", &checkpoint.first_moment},
                                     {"second_moment", &checkpoint.second_moment}}) {
    if (read) read = files.read_tensor(*file, checkpoint.state.number, name, *values);
  }
  if (!read) return read.error();
  return std::optional(std::move(checkpoint));
}

Status remove_checkpoint(const std::filesystem::path& dir) {
  return files_in(dir).remove();
}

}  // namespace dslad::worker
