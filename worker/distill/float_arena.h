// Places many float32 arrays in one allocation of a backend's memory.
//
// A struct of pointers states its layout once, in a function that takes each array from an arena. Run over an
// arena without memory it measures; run over one with memory it hands the arrays out. Thread safety: none.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dslad::worker {

class FloatArena {
 public:
  FloatArena() = default;  // measures
  explicit FloatArena(std::byte* memory) : base_(reinterpret_cast<float*>(memory)) {}

  // `count` floats, 64-byte aligned when the memory is; null while measuring.
  float* take(std::int64_t count) {
    float* out = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (count + kLine - 1) / kLine * kLine;
    return out;
  }
  [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(used_) * sizeof(float); }

 private:
  static constexpr std::int64_t kLine = 16;
  float* base_ = nullptr;
  std::int64_t used_ = 0;
};

}  // namespace dslad::worker
