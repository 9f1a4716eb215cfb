// A whole file mapped read-only into memory. Movable; safe to read from any thread.
//
// Pages are shared with every other process that maps the file, so several workers on one host hold
// one copy of the weights' file. An empty file maps to an empty span.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "base/result.h"

namespace dslad::worker {

// Gives back the memory that reading part of a mapping took. What it holds stays the file's, and is paged in
// again where it is read again. Thread-safe.
void release_pages(std::span<const std::byte> part);

class MappedFile {
 public:
  // Errors: kNotFound, kInvalidArgument (not a regular file), kUnavailable.
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::span<const std::byte> bytes_;  // as mmap returned it, or empty
};

}  // namespace dslad::worker
