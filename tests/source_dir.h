// Where the source tree is: where it was built, or by DSLAD_SOURCE_DIR on a machine to which only the
// programs came.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace dslad {

inline std::filesystem::path source_dir() {
  const char* const elsewhere = std::getenv("DSLAD_SOURCE_DIR");
  return elsewhere != nullptr ? elsewhere : DSLAD_SOURCE_DIR;
}

}  // namespace dslad
