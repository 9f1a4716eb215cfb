// A weight matrix W [N, K] as a device holds it: made and filled by the device (kernels/device.h), read by
// its operations alone.
//
// Thread safety: const once filled.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/weight_format.h"

namespace dslad::kernels {

class WeightMatrix {
 public:
  virtual ~WeightMatrix() = default;

  // Fills rows [first, first + rows) of W from row-major [rows, K] in host memory; converts (to nearest)
  // where the types differ. REQUIRES: first + rows <= n(). Calls on disjoint ranges of whole panels
  // (kPanel) may run concurrently.
  virtual void pack_rows(std::int64_t first, std::int64_t rows, const float* source) = 0;
  [[nodiscard]] virtual std::size_t bytes() const = 0;  // of the device's memory

  [[nodiscard]] std::int64_t n() const { return n_; }
  [[nodiscard]] std::int64_t k() const { return k_; }
  [[nodiscard]] WeightFormat format() const { return format_; }

 protected:
  WeightMatrix() = default;
  WeightMatrix(std::int64_t n, std::int64_t k, WeightFormat format) : n_(n), k_(k), format_(format) {}
  WeightMatrix(const WeightMatrix&) = default;
  WeightMatrix& operator=(const WeightMatrix&) = default;
  WeightMatrix(WeightMatrix&&) = default;
  WeightMatrix& operator=(WeightMatrix&&) = default;

 private:
  std::int64_t n_ = 0, k_ = 0;
  WeightFormat format_ = WeightFormat::kF32;
};

}  // namespace dslad::kernels
