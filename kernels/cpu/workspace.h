// Working memory that is kept from call to call, so that a step does not ask the system for pages again.
//
// Grow-only and 64-byte aligned. Meant to be thread_local in the file that uses it. Thread safety: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace dslad::kernels {

class Workspace {
 public:
  // At least `count` floats with undefined contents; valid until the next call.
  float* floats(std::size_t count) {
    if (count > size_) {
      data_.reset();
      data_.reset(static_cast<float*>(::operator new(count * sizeof(float), kAlignment)));
      size_ = count;
    }
    return data_.get();
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(float* p) const { ::operator delete(p, kAlignment); }
  };
  std::size_t size_ = 0;
  std::unique_ptr<float, Free> data_;
};

// Where a part of it begins. Null in memory that is null: what lies in a workspace is laid out there to be
// measured.
inline float* at_float(float* memory, std::int64_t first) {
  return memory == nullptr ? nullptr : memory + first;
}

}  // namespace dslad::kernels
