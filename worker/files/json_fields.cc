#include "worker/files/json_fields.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace dslad::worker {
namespace {

using nlohmann::json;

// The value as it stands in the file, cut short where it is long.
std::string shown(const json* value) {
  constexpr std::size_t kLongest = 60;
  if (value == nullptr) return "absent";
  if (value->is_structured() && value->size() > 8)
    return value->is_array() ? "a long list" : "a large object";
  const std::string text = value->dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() <= kLongest ? text : text.substr(0, kLongest) + "...";
}

bool is_integer(const json& value, std::int64_t low, std::int64_t high) {
  // Unsigned values above 2^63 would wrap in a signed read.
  const bool fits =
      value.is_number_integer() && (!value.is_number_unsigned() || value.get<std::uint64_t>() <= INT64_MAX);
  return fits && value.get<std::int64_t>() >= low && value.get<std::int64_t>() <= high;
}

bool is_number(const json& value, double low, double high) {
  return value.is_number() && value.get<double>() >= low && value.get<double>() <= high;
}

}  // namespace

JsonFields::JsonFields(const json& object, std::string_view name)
    : JsonFields(object, std::string(name), std::make_shared<Status>(ok_status())) {}

JsonFields::JsonFields(const json& object, std::string name, std::shared_ptr<Status> status)
    : object_(&object), name_(std::move(name)), status_(std::move(status)) {
  if (!object.is_object() && status_->ok()) {
    *status_ = Error{ErrorCode::kInvalidArgument, fmt::format("{}: expected a JSON object", name_)};
  }
}

const json* JsonFields::find(const char* key) const {
  if (!object_->is_object()) return nullptr;
  const auto entry = object_->find(key);
  return entry == object_->end() || entry->is_null() ? nullptr : &*entry;
}

bool JsonFields::has(const char* key) const {
  return object_->is_object() && object_->contains(key);
}

bool JsonFields::required(const char* key) {
  if (find(key) != nullptr) return true;
  refuse(key, "the key is required");
  return false;
}

std::int64_t JsonFields::integer(const char* key, std::int64_t low, std::int64_t high) {
  return required(key) ? integer(key, low, high, low) : low;
}

std::int64_t JsonFields::integer(const char* key, std::int64_t low, std::int64_t high, std::int64_t absent) {
  const json* const value = find(key);
  if (value == nullptr) return absent;
  if (is_integer(*value, low, high)) return value->get<std::int64_t>();
  refuse(key, fmt::format("must be an integer from {} to {}", low, high));
  return low;
}

double JsonFields::number(const char* key, double low, double high) {
  return required(key) ? number(key, low, high, low) : low;
}

double JsonFields::number(const char* key, double low, double high, double absent) {
  const json* const value = find(key);
  if (value == nullptr) return absent;
  if (is_number(*value, low, high)) return value->get<double>();
  refuse(key, fmt::format("must be a number from {} to {}", low, high));
  return low;
}

bool JsonFields::boolean(const char* key) {
  return required(key) && boolean(key, false);
}

bool JsonFields::boolean(const char* key, bool absent) {
  const json* const value = find(key);
  if (value == nullptr) return absent;
  if (value->is_boolean()) return value->get<bool>();
  refuse(key, "must be true or false");
  return absent;
}

std::string JsonFields::text(const char* key) {
  return required(key) ? text(key, "") : std::string();
}

std::string JsonFields::text(const char* key, std::string_view absent) {
  const json* const value = find(key);
  if (value == nullptr) return std::string(absent);
  if (value->is_string()) return value->get<std::string>();
  refuse(key, "must be a string");
  return std::string(absent);
}

std::vector<std::int64_t> JsonFields::integers(const char* key, std::int64_t low, std::int64_t high) {
  const json* const list = find(key);
  if (list == nullptr) return {};
  const auto fits = [&](const json& value) { return is_integer(value, low, high); };
  if (list->is_array() && std::ranges::all_of(*list, fits)) return list->get<std::vector<std::int64_t>>();
  refuse(key, fmt::format("must be a list of integers from {} to {}", low, high));
  return {};
}

std::vector<double> JsonFields::numbers(const char* key, double low, double high) {
  const json* const list = find(key);
  if (list == nullptr) return {};
  const auto fits = [&](const json& value) { return is_number(value, low, high); };
  if (list->is_array() && std::ranges::all_of(*list, fits)) return list->get<std::vector<double>>();
  refuse(key, fmt::format("must be a list of numbers from {} to {}", low, high));
  return {};
}

JsonFields JsonFields::object(const char* key) {
  static const json kEmpty = json::object();
  const json* const value = required(key) ? find(key) : nullptr;
  return {value != nullptr ? *value : kEmpty, fmt::format("{}: {}", name_, key), status_};
}

std::vector<JsonFields> JsonFields::objects(const char* key) {
  std::vector<JsonFields> objects;
  if (!required(key)) return objects;
  const json& list = *find(key);
  if (!list.is_array()) {
    refuse(key, "must be a list");
    return objects;
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    objects.push_back(JsonFields(list[i], fmt::format("{}: {}[{}]", name_, key, i), status_));
  }
  return objects;
}

void JsonFields::refuse_unknown(std::initializer_list<std::string_view> known) {
  if (!object_->is_object()) return;
  for (const auto& [key, value] : object_->items()) {
    if (std::ranges::find(known, key) == known.end()) refuse(key.c_str(), "the key is unknown");
  }
}

void JsonFields::refuse(const char* key, std::string_view why) {
  if (!status_->ok()) return;
  *status_ =
      Error{ErrorCode::kInvalidArgument, fmt::format("{}: {} is {}: {}", name_, key, shown(find(key)), why)};
}

}  // namespace dslad::worker
