#include "worker/eval/score_record.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "worker/files/json_fields.h"
#include "worker/files/json_file.h"

namespace dslad::worker {

std::string to_line(const ScoreRecord& record) {
  nlohmann::ordered_json line = {{"file", record.key.item.file},
                                 {"id", record.key.item.id},
                                 {"item", record.key.item.item},
                                 {"plan", record.key.plan}};
  if (!record.kind.empty()) line["kind"] = record.kind;
  line["tokens"] = record.tokens;
  if (record.distance) line["distance"] = *record.distance;
  line["weight"] = record.weight;
  line["scores"] = record.scores;
  if (!record.text.empty()) line["text"] = record.text;
  return line.dump();
}

Result<ScoreRecord> parse_record(std::string_view line, std::string_view where) {
  constexpr double kAny = std::numeric_limits<double>::max();
  const auto object = parse_json(line, where);
  if (!object) return object.error();
  JsonFields fields(*object, where);
  ScoreRecord record;
  record.key.item.file = fields.text("file", "");
  record.key.item.id = fields.text("id", "");
  record.key.item.item = static_cast<int>(fields.integer("item", 0, std::numeric_limits<int>::max()));
  record.key.plan = static_cast<int>(fields.integer("plan", 0, std::numeric_limits<int>::max()));
  record.kind = fields.text("kind", "");
  record.tokens = fields.integer("tokens", 0, std::numeric_limits<std::int64_t>::max());
  if (fields.find("distance") != nullptr) {
    record.distance = fields.integer("distance", 0, std::numeric_limits<std::int64_t>::max());
  }
  record.weight = fields.number("weight", 0, kAny, 1);
  record.text = fields.text("text", "");
  const nlohmann::json* const scores = fields.find("scores");
  if (scores == nullptr || !scores->is_object()) {
    fields.refuse("scores", "must be an object of numbers");
    return fields.status().error();
  }
  JsonFields numbers(*scores, where);
  for (const auto& [name, value] : scores->items()) {
    record.scores[name] = numbers.number(name.c_str(), -kAny, kAny, 0);
  }
  if (!fields.status()) return fields.status().error();
  if (!numbers.status()) return numbers.status().error();
  return record;
}

}  // namespace dslad::worker
