#include "worker/model/stored_tensor.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <fmt/format.h>

#include "worker/model/half.h"
#include "worker/model/quantized_blocks.h"

namespace dslad::worker {
namespace {

struct TypeInfo {
  std::string_view name;
  StoredBlock block;
};

// In the order of the enum.
constexpr std::array<TypeInfo, 23> kTypes = {
    {{"BOOL", {1, 1}},     {"U8", {1, 1}},       {"I8", {1, 1}},       {"F8_E5M2", {1, 1}},
     {"F8_E4M3", {1, 1}},  {"I16", {1, 2}},      {"U16", {1, 2}},      {"F16", {1, 2}},
     {"BF16", {1, 2}},     {"I32", {1, 4}},      {"U32", {1, 4}},      {"F32", {1, 4}},
     {"F64", {1, 8}},      {"I64", {1, 8}},      {"U64", {1, 8}},      {"Q4_0", kBlockQ4_0},
     {"Q4_1", kBlockQ4_1}, {"Q5_0", kBlockQ5_0}, {"Q5_1", kBlockQ5_1}, {"Q8_0", kBlockQ8_0},
     {"Q4_K", kBlockQ4K},  {"Q5_K", kBlockQ5K},  {"Q6_K", kBlockQ6K}}};

const TypeInfo& info(StoredType type) {
  return kTypes[static_cast<std::size_t>(type)];
}

float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

// Reads through memcpy: the formats promise no alignment.
template <float (*convert)(std::uint16_t)>
void convert_halves(const std::byte* in, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, in + 2 * i, sizeof bits);
    out[i] = convert(bits);
  }
}

// `values`, a whole number of blocks, of a readable type.
void convert(StoredType type, const std::byte* in, std::int64_t values, float* out) {
  switch (type) {
    case StoredType::kF32:
      std::memcpy(out, in, static_cast<std::size_t>(values) * sizeof(float));
      return;
    case StoredType::kF16:
      convert_halves<half_to_float>(in, values, out);
      return;
    case StoredType::kBf16:
      convert_halves<bf16_to_float>(in, values, out);
      return;
    default:
      read_blocks(type, in, values / block_of(type).values, out);
      return;
  }
}

// Where the rotary order's `row` lies in the file; see interleaved_heads.
std::int64_t file_row(std::int64_t row, std::int64_t head_rows) {
  const std::int64_t in_head = row % head_rows, half = head_rows / 2;
  return row - in_head + (in_head < half ? 2 * in_head : 2 * (in_head - half) + 1);
}

// Whether no value is infinite or not a number; without a branch a value, since all weights pass here.
bool all_finite(std::span<const float> values) {
  constexpr std::uint32_t kExponent = 0x7f800000u;
  std::uint32_t found = 0;
  for (const float value : values) {
    const std::uint32_t exponent = std::bit_cast<std::uint32_t>(value) & kExponent;
    found |= exponent == kExponent ? 1u : 0u;
  }
  return found == 0;
}

}  // namespace

std::string_view to_string(StoredType type) {
  return info(type).name;
}

StoredBlock block_of(StoredType type) {
  return info(type).block;
}

std::optional<StoredType> safetensors_type(std::string_view name) {
  const auto* const end = kTypes.begin() + static_cast<std::ptrdiff_t>(StoredType::kQ4_0);
  const auto* const found = std::ranges::find(kTypes.begin(), end, name, &TypeInfo::name);
  if (found == end) return std::nullopt;
  return static_cast<StoredType>(found - kTypes.begin());
}

bool readable(StoredType type) {
  return type == StoredType::kF32 || type == StoredType::kF16 || type == StoredType::kBf16 ||
         type >= StoredType::kQ4_0;
}

std::int64_t TensorView::elements() const {
  // Unsigned: beside a dimension of 0 the others' product may be any number.
  std::uint64_t product = 1;
  for (const std::int64_t size : shape) product *= static_cast<std::uint64_t>(size);
  return static_cast<std::int64_t>(product);
}

std::int64_t TensorView::row_elements() const {
  return rows() == 0 ? 0 : elements() / rows();
}

Status read_rows(const TensorView& view, std::int64_t first, std::int64_t count, float* out) {
  if (!readable(view.type)) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("tensor \"{}\" holds {}; convert the weights to F32, F16 or BF16", view.name,
                             to_string(view.type))};
  }
  const std::int64_t row = view.row_elements();
  if (row == 0 || count == 0) return ok_status();
  const StoredBlock block = block_of(view.type);
  const std::size_t row_bytes = static_cast<std::size_t>(row / block.values) * block.bytes;
  const auto at = [&](std::int64_t index) {
    return view.bytes.data() + static_cast<std::size_t>(index) * row_bytes;
  };
  if (view.interleaved_heads == 0) {
    convert(view.type, at(first), count * row, out);
    return ok_status();
  }
  if (view.shape.size() < 2) {
    std::vector<float> values(static_cast<std::size_t>(row));
    convert(view.type, at(0), row, values.data());
    const std::int64_t head = row / view.interleaved_heads;
    for (std::int64_t i = 0; i < row; ++i) out[i] = values[static_cast<std::size_t>(file_row(i, head))];
    return ok_status();
  }
  const std::int64_t head = view.rows() / view.interleaved_heads;
  for (std::int64_t i = 0; i < count; ++i)
    convert(view.type, at(file_row(first + i, head)), row, out + i * row);
  return ok_status();
}

Status read_weights(const TensorView& view, std::int64_t first, std::int64_t count, float* out) {
  Status read = read_rows(view, first, count, out);
  if (!read) return read;
  const std::int64_t row = view.row_elements();
  const std::span<const float> values(out, static_cast<std::size_t>(count * row));
  if (all_finite(values)) return ok_status();
  const auto bad = std::ranges::find_if_not(values, [](float value) { return std::isfinite(value); });
  const std::int64_t at = bad - values.begin();
  return Error{
      ErrorCode::kCorrupt,
      fmt::format(
          "tensor \"{}\" holds {} in row {}, column {}; the file is damaged or was converted wrongly: "
          "fetch it again",
          view.name, std::isnan(*bad) ? "a value that is not a number" : "an infinite value",
          first + at / row, at % row)};
}

}  // namespace dslad::worker
