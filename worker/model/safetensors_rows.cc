// Conversion of stored rows to float32.
#include <bit>
#include <cstring>
#include <fmt/format.h>

#include "worker/model/safetensors.h"

namespace dslad::worker {
namespace {

// IEEE half to single, exact for every value. Written without a subnormal float in between, so that a
// thread that flushes those to zero converts alike.
float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fu;
  const std::uint32_t fraction = half & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  const std::uint32_t biased = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | (biased << 23) | (fraction << 13));
}

float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

// Reads through memcpy: the format promises no alignment.
template <float (*convert)(std::uint16_t)>
void convert_halves(const std::byte* in, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, in + 2 * i, sizeof bits);
    out[i] = convert(bits);
  }
}

}  // namespace

Status read_rows(const TensorView& view, std::int64_t first, std::int64_t count, float* out) {
  const std::int64_t row = view.row_elements();
  const std::byte* const in = view.bytes.data() + static_cast<std::size_t>(first * row) * size_of(view.type);
  const std::int64_t values = count * row;
  if (values == 0) return ok_status();
  switch (view.type) {
    case StoredType::kF32:
      std::memcpy(out, in, static_cast<std::size_t>(values) * sizeof(float));
      return ok_status();
    case StoredType::kF16:
      convert_halves<half_to_float>(in, values, out);
      return ok_status();
    case StoredType::kBf16:
      convert_halves<bf16_to_float>(in, values, out);
      return ok_status();
    default:
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("tensor \"{}\" holds {}; convert the weights to F32, F16 or BF16", view.name,
                               to_string(view.type))};
  }
}

}  // namespace dslad::worker
