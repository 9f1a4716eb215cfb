// How much memory a worker's caches take where nobody says. Pure.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"

namespace dslad::worker {

// Of one memory, in bytes.
struct MemoryUse {
  std::size_t available = 0;
  std::string source;       // what says so
  bool shared = true;       // with all else that runs on the machine; else it is the worker's alone
  std::size_t weights = 0;  // the model's and its chain's, as far as they are not taken off `available`
  std::size_t steps = 0;    // activations and tables
};

// A quarter of a memory that is shared, nine tenths of one that is not; or less, so that weights, steps and
// caches leave a sixteenth of it. kResourceExhausted: nothing is left, with what to do.
Result<std::size_t> default_cache_bytes(const MemoryUse& use);

// What is wrong with caches of so many bytes; empty: they fit beside the rest.
std::string cache_warning(const MemoryUse& use, std::size_t cache_bytes);

}  // namespace dslad::worker
