// Reads the fields of one JSON object with their ranges; remembers the first thing that is wrong.
//
// Readers never fail by themselves: they return a harmless value, and status() says at the end whether
// all was well. null counts as absent, as Hugging Face writes it. Not thread-safe; borrows the object.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dslad::worker {

class JsonFields {
 public:
  // `name` stands for the file in errors. An `object` that is none is the first error.
  JsonFields(const nlohmann::json& object, std::string_view name);

  // nullptr when absent or null.
  [[nodiscard]] const nlohmann::json* find(const char* key) const;

  // Whether the key is there, be it with null: some formats have defaults that null takes away.
  [[nodiscard]] bool has(const char* key) const;

  // Without a value for `absent` the key is required.
  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high);
  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high, std::int64_t absent);
  double number(const char* key, double low, double high);
  double number(const char* key, double low, double high, double absent);
  bool boolean(const char* key);
  bool boolean(const char* key, bool absent);
  std::string text(const char* key);
  std::string text(const char* key, std::string_view absent);

  // Each from `low` to `high`; empty when absent.
  std::vector<std::int64_t> integers(const char* key, std::int64_t low, std::int64_t high);
  std::vector<double> numbers(const char* key, double low, double high);

  // The object under `key`, and the objects of the list under it; required. Their errors are also this one's,
  // under names like "NAME: KEY[2]".
  JsonFields object(const char* key);
  std::vector<JsonFields> objects(const char* key);

  // For formats in which an unknown key must be a mistake.
  void refuse_unknown(std::initializer_list<std::string_view> known);

  // Remembers that the value of `key` is not acceptable, and why or what to do.
  void refuse(const char* key, std::string_view why);

  [[nodiscard]] const Status& status() const { return *status_; }

 private:
  JsonFields(const nlohmann::json& object, std::string name, std::shared_ptr<Status> status);
  bool required(const char* key);  // false, and remembered, when it is absent

  const nlohmann::json* object_;
  std::string name_;
  std::shared_ptr<Status> status_;  // the objects inside share it
};

}  // namespace dslad::worker
