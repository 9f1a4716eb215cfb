// One safetensors file, mapped read-only; a view of each of its tensors.
//
//   file   := u64 header_bytes (little endian, <= 100 MB) | header (JSON, may end in spaces) | data
//   header := { "__metadata__"?: {string: string}, name: {"dtype", "shape", "data_offsets": [begin, end]} }
//   data   := the tensors, row-major, little endian, covering it without a gap or an overlap
//
// Every field is checked when the file is opened, against the file's size too, so a truncated or
// hostile file is an error there and never a fault later. (Only a file that is truncated while it is
// mapped can still fault: replace weight files by renaming, never in place.)
// Immutable after opening: safe from any thread. Views live as long as the file object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/files/mapped_file.h"
#include "worker/model/stored_tensor.h"

namespace dslad::worker {

class SafetensorsFile {
 public:
  // Errors: kNotFound, kUnavailable (cannot be read), kCorrupt (names the file and the field).
  static Result<SafetensorsFile> open(const std::filesystem::path& path);

  // In the order of their data.
  [[nodiscard]] std::span<const TensorView> tensors() const { return tensors_; }

 private:
  SafetensorsFile(MappedFile file, std::vector<TensorView> tensors);

  MappedFile file_;
  std::vector<TensorView> tensors_;
};

// The tensors that the header in `file` describes, as SafetensorsFile::open does; views into `file`.
Result<std::vector<TensorView>> parse_safetensors(std::span<const std::byte> file, std::string_view name);

}  // namespace dslad::worker
