// Strict JSON: well-formed UTF-8, no duplicate keys, nesting at most 64 deep. The only place that lets
// nlohmann-json throw. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/result.h"

namespace dslad::worker {

// Errors: kCorrupt naming `name` and the byte or the key.
Result<nlohmann::json> parse_json(std::string_view text, std::string_view name);

// The file's content, at most `max_bytes`. Errors: as read_file and parse_json.
Result<nlohmann::json> load_json(const std::filesystem::path& path, std::size_t max_bytes);

}  // namespace dslad::worker
