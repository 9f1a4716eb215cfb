#include "worker/files/read_file.h"

#include <fmt/format.h>

#include "worker/files/mapped_file.h"

namespace dslad::worker {

Result<std::string> read_file(const std::filesystem::path& path, std::size_t max_bytes) {
  const auto file = MappedFile::open(path);
  if (!file) return file.error();
  const auto bytes = file->bytes();
  if (bytes.size() > max_bytes) {
    return Error{ErrorCode::kResourceExhausted, fmt::format("{}: {} bytes, more than the {} allowed for it",
                                                            path.string(), bytes.size(), max_bytes)};
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace dslad::worker
