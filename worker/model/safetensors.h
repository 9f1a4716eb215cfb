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

#include "schema/result.h"
#include "worker/files/mapped_file.h"

namespace dslad::worker {

// What the format can store; read_rows converts the floating point types of 16 and 32 bits.
enum class StoredType : std::uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kI16,
  kU16,
  kF16,
  kBf16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64,
};

std::string_view to_string(StoredType type);  // as spelled in the header: "BF16"
std::size_t size_of(StoredType type);         // bytes per element

struct TensorView {
  std::string name;
  StoredType type;
  std::vector<std::int64_t> shape;   // product * size_of(type) == bytes.size()
  std::span<const std::byte> bytes;  // row-major; any alignment

  [[nodiscard]] std::int64_t elements() const;
  // All dimensions but the first; a vector or scalar is a single row.
  [[nodiscard]] std::int64_t rows() const { return shape.size() < 2 ? 1 : shape[0]; }
  [[nodiscard]] std::int64_t row_elements() const;
};

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

// Rows [first, first + count) as float32; out: [count, view.row_elements()].
// REQUIRES: 0 <= first, first + count <= view.rows(). Errors: kInvalidArgument for another type than
// F32, F16, BF16. F16 subnormals, infinities and NaNs keep their value.
Status read_rows(const TensorView& view, std::int64_t first, std::int64_t count, float* out);

}  // namespace dslad::worker
