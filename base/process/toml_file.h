// Reads a program's configuration: a TOML file of tables and plain values, flattened to dotted keys.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace dslad::process {

struct TomlValue {
  std::string key;                      // "workers.lease_ms"
  std::uint32_t line = 0;               // of the value, from 1
  std::optional<std::int64_t> integer;  // else `text`
  std::string text;                     // values that are neither text nor integer: as they are written
  std::vector<std::string> texts;       // of a list of texts, else empty
};

// Calls `take` once a value, in the order of keys. Gives what is wrong with the file, with its place; empty:
// nothing.
std::string read_toml(const std::filesystem::path& file, const std::function<void(const TomlValue&)>& take);

}  // namespace dslad::process
