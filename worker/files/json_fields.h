// Reads the fields of one JSON object with their ranges; remembers the first thing that is wrong.
//
// Readers never fail by themselves: they return a harmless value, and status() says at the end whether
// all was well. null counts as absent, as Hugging Face writes it. Not thread-safe; borrows the object.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "schema/result.h"

namespace dslad::worker {

class JsonFields {
 public:
  // `name` stands for the file in errors. An `object` that is none is the first error.
  JsonFields(const nlohmann::json& object, std::string_view name);

  // nullptr when absent or null.
  [[nodiscard]] const nlohmann::json* find(const char* key) const;

  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high);  // required
  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high, std::int64_t absent);
  double number(const char* key, double low, double high, double absent);
  bool boolean(const char* key, bool absent);
  std::string text(const char* key, std::string_view absent);

  // Remembers that the value of `key` is not acceptable, and why or what to do.
  void refuse(const char* key, std::string_view why);

  [[nodiscard]] const Status& status() const { return status_; }

 private:
  const nlohmann::json* object_;
  std::string name_;
  Status status_ = ok_status();
};

}  // namespace dslad::worker
