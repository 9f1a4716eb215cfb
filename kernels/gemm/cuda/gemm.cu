#include "kernels/cuda/stream.cuh"
#include "kernels/cuda/words.h"
#include "kernels/gemm/cuda/gemm.h"
#include "kernels/gemm/cuda/gemm_blocks.cuh"

namespace dslad::kernels::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;  // what NVIDIA advises for Hopper

bool rows_are_aligned_to_16(const float* y, std::int64_t ldy) {
  return reinterpret_cast<std::uintptr_t>(y) % 16 == 0 && ldy % 4 == 0;
}

}  // namespace

// cuBLASLt counts by columns: y^T [n, m] = W^T^T x^T, where W by rows is W^T by columns.
struct Gemm::Product {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
  cublasLtMatmulAlgo_t algorithm{};

  ~Product() {
    cublasLtMatrixLayoutDestroy(y);
    cublasLtMatrixLayoutDestroy(x);
    cublasLtMatrixLayoutDestroy(w);
    cublasLtMatmulDescDestroy(operation);
  }

  bool describe(const Shape& shape) {
    const auto [m, n, k, ldy, aligned, dtype] = shape;
    const cudaDataType_t type = dtype == DType::kF32 ? CUDA_R_32F : CUDA_R_16BF;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    return cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                          sizeof transposed) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutCreate(&w, type, k, n, k) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutCreate(&x, type, k, m, k) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutCreate(&y, CUDA_R_32F, n, m, ldy) == CUBLAS_STATUS_SUCCESS;
  }

  bool choose(cublasLtHandle_t handle, const Shape& shape) {
    const auto [m, n, k, ldy, aligned, dtype] = shape;
    cublasLtMatmulPreference_t preference = nullptr;
    if (cublasLtMatmulPreferenceCreate(&preference) != CUBLAS_STATUS_SUCCESS) return false;
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t what, auto value) {
      return cublasLtMatmulPreferenceSetAttribute(preference, what, &value, sizeof value) ==
             CUBLAS_STATUS_SUCCESS;
    };
    const auto element = static_cast<std::uint32_t>(size_of(dtype));
    const std::uint32_t operands = k * element % 16 == 0 ? 16 : element, result = aligned ? 16 : 4;
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    const bool is_chosen = prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes) &&
                           prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                  static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE)) &&
                           prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, operands) &&
                           prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, operands) &&
                           prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, result) &&
                           prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, result) &&
                           cublasLtMatmulAlgoGetHeuristic(handle, operation, w, x, y, y, preference, 1, &best,
                                                          &found) == CUBLAS_STATUS_SUCCESS &&
                           found == 1;
    cublasLtMatmulPreferenceDestroy(preference);
    algorithm = best.algo;
    return is_chosen;
  }
};

std::unique_ptr<Gemm> Gemm::create() {
  std::unique_ptr<Gemm> gemm(new Gemm);
  const bool is_made = cublasLtCreate(&gemm->handle_) == CUBLAS_STATUS_SUCCESS &&
                       cudaMalloc(&gemm->workspace_, kWorkspaceBytes) == cudaSuccess;
  if (is_made) return gemm;
  static_cast<void>(cudaGetLastError());  // told by the null; the next operation shall not find it
  return nullptr;
}

Gemm::~Gemm() {
  cudaFree(workspace_);
  if (handle_ != nullptr) cublasLtDestroy(handle_);
}

Gemm::Product* Gemm::product(const Shape& shape) {
  std::unique_ptr<Product>& known = products_[shape];
  if (!known) {
    auto made = std::make_unique<Product>();
    if (made->describe(shape) && made->choose(handle_, shape)) known = std::move(made);
  }
  return known.get();
}

std::string Gemm::multiply(const GemmOnDevice& args, std::int64_t m, float* y, std::int64_t ldy,
                           bool accumulate, cudaStream_t stream) {
  const Product* by = product({m, args.n, args.k, ldy, rows_are_aligned_to_16(y, ldy), args.dtype});
  if (by == nullptr) {
    return "cuBLASLt has no algorithm for [" + std::to_string(m) + ", " + std::to_string(args.k) + "] by [" +
           std::to_string(args.n) + ", " + std::to_string(args.k) + "] transposed";
  }
  const float one = 1.0f, beta = accumulate ? 1.0f : 0.0f;
  return words(cublasLtMatmul(handle_, by->operation, &one, args.w, by->w, args.rounded, by->x, &beta, y,
                              by->y, y, by->y, &by->algorithm, workspace_, kWorkspaceBytes, stream));
}

std::string Gemm::run(const GemmOnDevice& args, cudaStream_t stream) {
  Stream queue(stream);
  std::string failed;
  gemm_by_blocks(queue, args, [&](std::int64_t m, float* y, std::int64_t ldy, bool accumulate) {
    if (queue.error() != cudaSuccess) return false;  // what was rounded before is no operand
    failed = multiply(args, m, y, ldy, accumulate, stream);
    return failed.empty();
  });
  return failed.empty() ? words(queue.error()) : failed;
}

}  // namespace dslad::kernels::cuda
