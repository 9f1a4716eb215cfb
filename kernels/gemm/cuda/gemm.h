// Products by cuBLASLt, and what they need: its handle, the chosen algorithms and a workspace.
//
// A row's result must not depend on other rows (kernels/rows.h), and cuBLASLt chooses algorithms by the
// number of rows: gemm_blocks.cuh says which products there are, and here one shape has one algorithm.
// Algorithms that split the sum over K are refused: their parts depend on the tiles around. Thread safety:
// one caller at a time, on one stream.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "kernels/gemm/cuda/gemm_on_device.h"

namespace dslad::kernels::cuda {

class Gemm {
 public:
  // Null when cuBLASLt or the device has not what it needs.
  static std::unique_ptr<Gemm> create();
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  // Queued on `stream`. Empty, or what failed in CUDA's words or cuBLAS's.
  [[nodiscard]] std::string run(const GemmOnDevice& args, cudaStream_t stream);

 private:
  Gemm() = default;
  // y [m, n] = args.rounded W^T (+ y). Empty, or what failed.
  std::string multiply(const GemmOnDevice& args, std::int64_t m, float* y, std::int64_t ldy, bool accumulate,
                       cudaStream_t stream);

  struct Product;  // descriptors and algorithm of one shape
  using Shape = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, bool,
                           DType>;  // m, n, k, ldy, aligned
  Product* product(const Shape& shape);

  cublasLtHandle_t handle_ = nullptr;
  std::map<Shape, std::unique_ptr<Product>> products_;
  void* workspace_ = nullptr;  // cuBLASLt's
};

}  // namespace dslad::kernels::cuda
