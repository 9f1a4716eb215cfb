#include "worker/distill/budget_record.h"

#include <cstdlib>
#include <fmt/format.h>
#include <string>
#include <system_error>

#include "worker/files/atomic_file.h"
#include "worker/files/json_fields.h"
#include "worker/files/json_file.h"

namespace dslad::worker {
namespace {

constexpr const char* kBudgetFile = "budget.json";
constexpr std::size_t kMostRecordBytes = 4 << 20;
constexpr std::int64_t kMostRecordSteps = std::int64_t{1} << 40;
constexpr int kLayersOfRecord = 1024;
constexpr double kMostSeconds = 1e12;

nlohmann::json steps_json(const DecidedSteps& decided) {
  nlohmann::json out = {{"steps", decided.steps}};
  if (decided.ended_at) out["ended_at"] = *decided.ended_at;
  return out;
}

DecidedSteps read_steps(JsonFields fields) {
  DecidedSteps out;
  out.steps = fields.integer("steps", 0, kMostRecordSteps);
  if (fields.find("ended_at") != nullptr) out.ended_at = fields.integer("ended_at", 0, kMostRecordSteps);
  return out;
}

std::map<int, DecidedSteps> read_layers(JsonFields fields, const nlohmann::json& layers) {
  std::map<int, DecidedSteps> out;
  if (!layers.is_object()) return out;  // which `fields` says
  for (const auto& [key, value] : layers.items()) {
    char* end = nullptr;
    const long layer = std::strtol(key.c_str(), &end, 10);
    if (key.empty() || *end != '\0' || layer < 0 || layer >= kLayersOfRecord) {
      fields.refuse(key.c_str(), "must be a layer's number");
      break;
    }
    out[static_cast<int>(layer)] = read_steps(fields.object(key.c_str()));
  }
  return out;
}

Result<BudgetRecord> parse_record(const nlohmann::json& json, const std::string& name) {
  JsonFields fields(json, name);
  BudgetRecord record;
  record.used = fields.number("used_seconds", 0, kMostSeconds);
  record.joint_step = fields.number("joint_step_seconds", 0, kMostSeconds);
  record.pass = fields.number("pass_seconds", 0, kMostSeconds);
  JsonFields decisions = fields.object("decisions");
  record.held_out = decisions.integer("held_out_tokens", 1, kMostRecordSteps);
  record.layerwise = read_steps(decisions.object("layerwise"));
  if (const nlohmann::json* chained = decisions.find("chained"))
    record.chained = read_layers(decisions.object("chained"), *chained);
  if (decisions.find("joint_chained") != nullptr) {
    JsonFields joint = decisions.object("joint_chained");
    record.joint_chained = read_steps(joint);
    record.joint_layers = static_cast<int>(joint.integer("layers", 1, kLayersOfRecord));
  }
  if (const nlohmann::json* recipe = fields.find("recipe")) record.recipe = *recipe;
  if (!fields.status()) return fields.status().error();
  return record;
}

}  // namespace

nlohmann::json BudgetRecord::decisions() const {
  nlohmann::json out = {{"layerwise", steps_json(layerwise)}, {"held_out_tokens", held_out}};
  for (const auto& [layer, decided] : chained) out["chained"][std::to_string(layer)] = steps_json(decided);
  if (joint_chained) {
    out["joint_chained"] = steps_json(*joint_chained);
    out["joint_chained"]["layers"] = joint_layers;
  }
  return out;
}

Status save_budget_record(const std::filesystem::path& dir, const BudgetRecord& record) {
  const nlohmann::ordered_json json = {{"used_seconds", record.used},
                                       {"joint_step_seconds", record.joint_step},
                                       {"pass_seconds", record.pass},
                                       {"decisions", record.decisions()},
                                       {"recipe", record.recipe}};
  return write_file(dir / kBudgetFile, json.dump(1) + "\n");
}

Result<std::optional<BudgetRecord>> load_budget_record(const std::filesystem::path& dir) {
  const std::filesystem::path path = dir / kBudgetFile;
  const auto json = load_json(path, kMostRecordBytes);
  if (!json && json.error().code == ErrorCode::kNotFound) return std::optional<BudgetRecord>();
  if (!json) return json.error();
  auto record = parse_record(*json, path.string());
  if (!record) return record.error();
  return std::optional(*std::move(record));
}

}  // namespace dslad::worker
