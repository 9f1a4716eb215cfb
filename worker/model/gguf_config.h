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
// What llama.cpp takes for a key that is absent is written out where config.json's parser would take another.
// Errors: kInvalidArgument for an architecture that has no counterpart there, mixtures of experts and every
// key of the architecture that is not known, unless its value is the one that changes nothing; kCorrupt for a
// value of the wrong kind and for a key without which llama.cpp loads nothing.
Result<nlohmann::json> gguf_config(const GgufFile& file, std::string_view name);

}  // namespace dslad::worker
