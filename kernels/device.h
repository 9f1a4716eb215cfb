// Memory and weight formats of one device: who makes what operations (backend.h) read and write.
//
// A pointer to a device's memory is no business of the host: only the device and its backends look behind
// it. Thread safety: any thread, also beside a backend at work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "kernels/gemm/weight_matrix.h"
#include "kernels/rows.h"

namespace dslad::kernels {

class Backend;

class Device {
 public:
  virtual ~Device() = default;

  [[nodiscard]] virtual std::string_view name() const = 0;  // "cpu", "cuda:0"

  // What it said when it failed; empty while it works. One that has failed has nothing for anybody: what is
  // null then is not null for want of memory.
  [[nodiscard]] virtual std::string_view error() const { return {}; }

  // 64-byte aligned memory, zeroed; null when the device has not enough, or has failed. Freed with the
  // pointer.
  using Buffer = std::unique_ptr<std::byte, void (*)(std::byte*)>;
  [[nodiscard]] virtual Buffer allocate(std::size_t bytes) = 0;

  // Whether weights can be held in the format.
  [[nodiscard]] virtual bool holds(WeightFormat format) const = 0;
  // Of zeros; null when the device has not enough memory, or has failed. REQUIRES: n > 0, k > 0,
  // holds(format).
  [[nodiscard]] virtual std::unique_ptr<WeightMatrix> make_matrix(std::int64_t n, std::int64_t k,
                                                                  WeightFormat format) = 0;
  // From host memory into the device's, before the call returns.
  virtual void write(void* to, const void* from, std::size_t bytes) = 0;

  // Tokens at whose multiples prompts are cut, a multiple of kPieceRows: as many rows as a product needs to
  // be fast.
  [[nodiscard]] virtual std::int64_t piece_rows() const { return kPieceRows; }

  // Bytes that nobody has allocated yet; nothing where memory is the machine's, of which others have a part.
  [[nodiscard]] virtual std::optional<std::size_t> free_bytes() const = 0;

  // What computes with this memory; with `threads` threads of the host where they do the work. The device
  // outlives it.
  [[nodiscard]] virtual std::unique_ptr<Backend> make_backend(int threads) = 0;
};

// Floats in a device's memory that stay as they are; empty by default.
class Vector {
 public:
  Vector() = default;
  // Nothing: the device has not enough memory, or has failed.
  static std::optional<Vector> create(Device& device, std::span<const float> values) {
    Vector vector;
    if (values.empty()) return vector;
    vector.memory_ = device.allocate(values.size_bytes());
    if (vector.memory_ == nullptr) return std::nullopt;
    device.write(vector.memory_.get(), values.data(), values.size_bytes());
    vector.size_ = static_cast<std::int64_t>(values.size());
    return vector;
  }

  [[nodiscard]] const float* data() const { return reinterpret_cast<const float*>(memory_.get()); }
  [[nodiscard]] std::int64_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

 private:
  Device::Buffer memory_{nullptr, [](std::byte*) {}};
  std::int64_t size_ = 0;
};

// The CPU: one for all. Matrices are PackedMatrix (gemm/packed_matrix.h).
std::shared_ptr<Device> cpu_device();

}  // namespace dslad::kernels
