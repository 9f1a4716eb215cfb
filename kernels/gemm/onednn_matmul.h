// y = x W^T or y += x W^T through oneDNN over our packed weights, on the calling thread alone.
//
// The library's own threads stay out of it: parallelism is the caller's, a few columns of W a task. To that
// end the first use sets the OpenMP thread count of the calling thread to 1, for good. Thread-safe.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/tensor.h"

namespace dslad::kernels {

struct MatmulShape {
  std::int64_t rows;  // of x and y; x is [rows, padded_k]
  std::int64_t padded_k;
  std::int64_t columns;  // of y; W is the packed panels that hold them
  std::int64_t ldy;
  DType dtype;              // of x and W
  bool accumulate = false;  // y += x W^T
  // NOLINTNEXTLINE(modernize-use-nullptr): a mistake of clang-tidy 14
  auto operator<=>(const MatmulShape&) const = default;
};

class OneDnnMatmul {
 public:
  // Prepared once a shape and kept. Null where oneDNN has no tuned code for this machine, shape and layout.
  static const OneDnnMatmul* find(const MatmulShape& shape);
  ~OneDnnMatmul();

  // y [rows, ldy] changes in its first `columns` columns. False: oneDNN failed, y is undefined.
  [[nodiscard]] bool run(const std::byte* x, const std::byte* w, float* y) const;

 private:
  struct Impl;
  explicit OneDnnMatmul(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace dslad::kernels
