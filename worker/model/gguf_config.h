// What a GGUF file's metadata say of its model, in the words of config.json: one parser (config.h) judges
// both.
//
// Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "worker/files/gguf.h"

namespace dslad::worker {

// general.architecture; empty when absent.
std::string_view gguf_architecture(const GgufFile& file);

// The integer under ARCHITECTURE.key, where it is one.
std::optional<std::int64_t> gguf_integer(const GgufFile& file, std::string_view key);

// Keys as in config.json; absent where the metadata are. `name` stands for the file in errors.
// Errors: kInvalidArgument for an architecture that has no counterpart there, mixtures of experts and parts
// of the graph that config.json has no word for; kCorrupt for a value of the wrong kind.
Result<nlohmann::json> gguf_config(const GgufFile& file, std::string_view name);

}  // namespace dslad::worker
