// Products by cuBLASLt, and what they need: its handle, the chosen algorithms and a workspace.
//
// A row's result must not depend on other rows (kernels/rows.h), and cuBLASLt chooses algorithms by the
// number of rows. So decode rows are multiplied kDecodeRows at a time, zeros where there are fewer: one
// shape, one algorithm. A prefill block is one product of its own row count. Algorithms that split the sum
// over K are refused: their parts depend on the tiles around. Thread safety: one caller at a time, on one
// stream.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <map>
#include <memory>
#include <tuple>

#include "kernels/gemm/cuda/gemm_on_device.h"

namespace dslad::kernels::cuda {

class Gemm {
 public:
  static constexpr std::int64_t kDecodeRows = 64;

  // Null when cuBLASLt or the device has not what it needs.
  static std::unique_ptr<Gemm> create();
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  // Queued on `stream`; a product that cuBLASLt has no algorithm for is cudaErrorNotSupported. Its operands'
  // memory grows with the largest n and k seen: cudaErrorMemoryAllocation.
  [[nodiscard]] cudaError_t run(const GemmOnDevice& args, cudaStream_t stream);
  // How often that memory has moved: what was recorded of products before is void.
  [[nodiscard]] int moves() const { return moves_; }

 private:
  Gemm() = default;
  cudaError_t reserve(std::int64_t n, std::int64_t k);
  // rounded_ [padded_rows, k] = rows of x from `first`, in w's type.
  cudaError_t round(const GemmOnDevice& args, std::int64_t first, std::int64_t rows, std::int64_t padded_rows,
                    cudaStream_t stream);
  // y [m, n] = rounded_ W^T (+ y).
  cudaError_t multiply(const GemmOnDevice& args, std::int64_t m, float* y, std::int64_t ldy, bool accumulate,
                       cudaStream_t stream);

  struct Product;  // descriptors and algorithm of one shape
  using Shape = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, bool,
                           DType>;  // m, n, k, ldy, aligned
  Product* product(const Shape& shape);

  cublasLtHandle_t handle_ = nullptr;
  std::map<Shape, std::unique_ptr<Product>> products_;
  void* rounded_ = nullptr;  // [max(kDecodeRows, kMostBlockRows), most_k_] f32 or bf16
  void* results_ = nullptr;  // [kDecodeRows, most_n_] f32
  std::int64_t most_n_ = 0, most_k_ = 0;
  int moves_ = 0;
  void* workspace_ = nullptr;  // cuBLASLt's
};

}  // namespace dslad::kernels::cuda
