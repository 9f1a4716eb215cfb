#include "worker/model/quantized_blocks.h"

#include <array>
#include <cstring>

#include "worker/model/half.h"

namespace dslad::worker {
namespace {

// A block's fields, one after the other. The format promises no alignment.
class Fields {
 public:
  explicit Fields(const std::byte* at) : at_(reinterpret_cast<const std::uint8_t*>(at)) {}

  float half() {
    std::uint16_t bits = 0;
    std::memcpy(&bits, bytes(2), sizeof bits);
    return half_to_float(bits);
  }
  const std::uint8_t* bytes(std::size_t count) {
    at_ += count;
    return at_ - count;
  }

 private:
  const std::uint8_t* at_;
};

std::uint32_t word(const std::uint8_t* bytes) {
  std::uint32_t out = 0;
  std::memcpy(&out, bytes, sizeof out);
  return out;
}

// Value i of 32 lies in the low half of byte i, value i + 16 in the high half.
int nibble(const std::uint8_t* bytes, int i) {
  return i < 16 ? bytes[i] & 0xf : bytes[i - 16] >> 4;
}

void q4_0(Fields in, float* out) {
  const float d = in.half();
  const std::uint8_t* const q = in.bytes(16);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(nibble(q, i) - 8);
}

void q4_1(Fields in, float* out) {
  const float d = in.half(), m = in.half();
  const std::uint8_t* const q = in.bytes(16);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(nibble(q, i)) + m;
}

// The fifth bits of all values are one word.
int five_bits(const std::uint8_t* q, std::uint32_t high, int i) {
  return nibble(q, i) | static_cast<int>(((high >> i) & 1u) << 4);
}

void q5_0(Fields in, float* out) {
  const float d = in.half();
  const std::uint32_t high = word(in.bytes(4));
  const std::uint8_t* const q = in.bytes(16);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(five_bits(q, high, i) - 16);
}

void q5_1(Fields in, float* out) {
  const float d = in.half(), m = in.half();
  const std::uint32_t high = word(in.bytes(4));
  const std::uint8_t* const q = in.bytes(16);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(five_bits(q, high, i)) + m;
}

void q8_0(Fields in, float* out) {
  const float d = in.half();
  const std::uint8_t* const q = in.bytes(32);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<std::int8_t>(q[i]));
}

// The 6-bit scale and minimum of each of 8 groups: the first four in the low bits of bytes 0..3 and 4..7; of
// the others the low four bits in bytes 8..11, the high two above the first four's.
struct GroupScales {
  std::array<std::uint8_t, 8> scale, minimum;

  explicit GroupScales(const std::uint8_t* packed) : scale{}, minimum{} {
    for (std::size_t i = 0; i < 4; ++i) {
      scale[i] = packed[i] & 63;
      minimum[i] = packed[i + 4] & 63;
      scale[i + 4] = static_cast<std::uint8_t>((packed[i + 8] & 0xf) | ((packed[i] >> 6) << 4));
      minimum[i + 4] = static_cast<std::uint8_t>((packed[i + 8] >> 4) | ((packed[i + 4] >> 6) << 4));
    }
  }
};

// Two groups share 32 bytes: the first has the low halves. `high`: Q5_K's fifth bits, one byte for the same
// place of all groups; null without.
void k_groups(float d, float dmin, const GroupScales& groups, const std::uint8_t* high, const std::uint8_t* q,
              float* out) {
  for (std::size_t group = 0; group < 8; ++group) {
    const float scale = d * static_cast<float>(groups.scale[group]);
    const float minimum = dmin * static_cast<float>(groups.minimum[group]);
    const std::uint8_t* const bytes = q + group / 2 * 32;
    for (std::size_t i = 0; i < 32; ++i) {
      int value = group % 2 == 0 ? bytes[i] & 0xf : bytes[i] >> 4;
      if (high != nullptr) value |= ((high[i] >> group) & 1) << 4;
      *out++ = scale * static_cast<float>(value) - minimum;
    }
  }
}

void q4_k(Fields in, float* out) {
  const float d = in.half(), dmin = in.half();
  const GroupScales groups(in.bytes(12));
  k_groups(d, dmin, groups, nullptr, in.bytes(128), out);
}

void q5_k(Fields in, float* out) {
  const float d = in.half(), dmin = in.half();
  const GroupScales groups(in.bytes(12));
  const std::uint8_t* const high = in.bytes(32);
  k_groups(d, dmin, groups, high, in.bytes(128), out);
}

// Each half of 128 values: four runs of 32; runs 0 and 2 share 32 bytes of low bits, as runs 1 and 3 do; the
// high two bits of all four runs lie in one byte for the same place.
void q6_k(Fields in, float* out) {
  const std::uint8_t* low = in.bytes(128);
  const std::uint8_t* high = in.bytes(64);
  const std::uint8_t* scales = in.bytes(16);
  const float d = in.half();
  for (int half = 0; half < 2; ++half, low += 64, high += 32, scales += 8) {
    for (int run = 0; run < 4; ++run) {
      for (int i = 0; i < 32; ++i) {
        const int byte = low[i + run % 2 * 32];
        const int value = (run < 2 ? byte & 0xf : byte >> 4) | (((high[i] >> (2 * run)) & 3) << 4);
        const auto scale = static_cast<std::int8_t>(scales[run * 2 + i / 16]);
        *out++ = d * static_cast<float>(scale) * static_cast<float>(value - 32);
      }
    }
  }
}

}  // namespace

void read_blocks(StoredType type, const std::byte* in, std::int64_t blocks, float* out) {
  const auto each = [&](void (*read)(Fields, float*)) {
    const StoredBlock block = block_of(type);
    for (std::int64_t i = 0; i < blocks; ++i, in += block.bytes, out += block.values) read(Fields(in), out);
  };
  switch (type) {
    case StoredType::kQ4_0:
      return each(q4_0);
    case StoredType::kQ4_1:
      return each(q4_1);
    case StoredType::kQ5_0:
      return each(q5_0);
    case StoredType::kQ5_1:
      return each(q5_1);
    case StoredType::kQ8_0:
      return each(q8_0);
    case StoredType::kQ4K:
      return each(q4_k);
    case StoredType::kQ5K:
      return each(q5_k);
    case StoredType::kQ6K:
      return each(q6_k);
    default:
      return;  // no block type: excluded by the contract
  }
}

}  // namespace dslad::worker
