#include "worker/files/json_fields.h"

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

}  // namespace

JsonFields::JsonFields(const json& object, std::string_view name) : object_(&object), name_(name) {
  if (!object.is_object()) {
    status_ = Error{ErrorCode::kInvalidArgument, fmt::format("{}: expected a JSON object", name_)};
  }
}

const json* JsonFields::find(const char* key) const {
  if (!object_->is_object()) return nullptr;
  const auto entry = object_->find(key);
  return entry == object_->end() || entry->is_null() ? nullptr : &*entry;
}

std::int64_t JsonFields::integer(const char* key, std::int64_t low, std::int64_t high) {
  if (find(key) == nullptr) {
    refuse(key, "the key is required");
    return low;
  }
  return integer(key, low, high, low);
}

std::int64_t JsonFields::integer(const char* key, std::int64_t low, std::int64_t high, std::int64_t absent) {
  const json* const value = find(key);
  if (value == nullptr) return absent;
  // Unsigned values above 2^63 would wrap in a signed read.
  const bool fits = value->is_number_integer() &&
                    (!value->is_number_unsigned() || value->get<std::uint64_t>() <= INT64_MAX);
  if (fits && value->get<std::int64_t>() >= low && value->get<std::int64_t>() <= high) {
    return value->get<std::int64_t>();
  }
  refuse(key, fmt::format("must be an integer from {} to {}", low, high));
  return low;
}

double JsonFields::number(const char* key, double low, double high, double absent) {
  const json* const value = find(key);
  if (value == nullptr) return absent;
  if (value->is_number() && value->get<double>() >= low && value->get<double>() <= high) {
    return value->get<double>();
  }
  refuse(key, fmt::format("must be a number from {} to {}", low, high));
  return low;
}

bool JsonFields::boolean(const char* key, bool absent) {
  const json* const value = find(key);
  if (value == nullptr) return absent;
  if (value->is_boolean()) return value->get<bool>();
  refuse(key, "must be true or false");
  return absent;
}

std::string JsonFields::text(const char* key, std::string_view absent) {
  const json* const value = find(key);
  if (value == nullptr) return std::string(absent);
  if (value->is_string()) return value->get<std::string>();
  refuse(key, "must be a string");
  return std::string(absent);
}

void JsonFields::refuse(const char* key, std::string_view why) {
  if (!status_.ok()) return;
  status_ =
      Error{ErrorCode::kInvalidArgument, fmt::format("{}: {} is {}: {}", name_, key, shown(find(key)), why)};
}

}  // namespace dslad::worker
