// A tensor as a file of weights holds it, and its rows as float32: what safetensors and GGUF have in common.
//
// Views borrow the file's bytes. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dslad::worker {

// What files can store; read_rows converts the floating point types of 16 and 32 bits and the blocks.
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
  // GGUF's blocks: some values with a common scale (quantized_blocks.h)
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ4K,
  kQ5K,
  kQ6K,
};

std::string_view to_string(StoredType type);  // as the formats spell it: "BF16", "Q4_K"

// The smallest piece of a row that is stored as a whole: one value, but for the quantized types.
struct StoredBlock {
  std::int64_t values;
  std::size_t bytes;
};
StoredBlock block_of(StoredType type);

// A type that safetensors' headers may name. nullopt: none of them.
std::optional<StoredType> safetensors_type(std::string_view name);

// Whether read_rows converts the type.
bool readable(StoredType type);

struct TensorView {
  std::string name;
  StoredType type;
  std::vector<std::int64_t> shape;   // the last dimension is a multiple of block_of(type).values
  std::span<const std::byte> bytes;  // row-major; any alignment; the blocks that the shape needs, no more
  // Where GGUF's converter has reordered rows (or a vector's values) by heads for its own rotary layout: the
  // number of heads. Within one, file row 2j is row j, and file row 2j + 1 is row j + d/2. 0: as they are.
  int interleaved_heads = 0;

  [[nodiscard]] std::int64_t elements() const;
  // All dimensions but the first; a vector or scalar is a single row.
  [[nodiscard]] std::int64_t rows() const { return shape.size() < 2 ? 1 : shape[0]; }
  [[nodiscard]] std::int64_t row_elements() const;
};

// Rows [first, first + count) as float32, in the order of Hugging Face; out: [count, view.row_elements()].
// REQUIRES: 0 <= first, first + count <= view.rows(). Errors: kInvalidArgument for a type that is not
// readable. F16 subnormals, infinities and NaNs keep their value.
Status read_rows(const TensorView& view, std::int64_t first, std::int64_t count, float* out);

// The same for weights. Errors: also kCorrupt where a value is infinite or not a number; names the tensor and
// the value's place.
Status read_weights(const TensorView& view, std::int64_t first, std::int64_t count, float* out);

}  // namespace dslad::worker
