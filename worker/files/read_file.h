// A small file's whole content, bounded so that a wrong path cannot fill the memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "base/result.h"

namespace dslad::worker {

// Errors: kNotFound; kUnavailable; kInvalidArgument when it is no regular file; kResourceExhausted beyond
// `max_bytes`.
Result<std::string> read_file(const std::filesystem::path& path, std::size_t max_bytes);

}  // namespace dslad::worker
