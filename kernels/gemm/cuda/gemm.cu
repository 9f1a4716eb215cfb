#include <algorithm>

#include "kernels/cuda/stream.cuh"
#include "kernels/gemm/cuda/gemm.h"
#include "kernels/gemm/cuda/gemm_rows.cuh"

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

cudaError_t Gemm::reserve(std::int64_t n, std::int64_t k) {
  const auto grow = [&](void*& memory, std::int64_t bytes) {
    ++moves_;
    cudaFree(memory);  // waits for what reads it
    memory = nullptr;
    return cudaMalloc(&memory, static_cast<std::size_t>(bytes));
  };
  cudaError_t error = cudaSuccess;
  if (k > most_k_) {
    error = grow(rounded_, std::max(kDecodeRows, kMostBlockRows) * k * std::int64_t{sizeof(float)});
    most_k_ = error == cudaSuccess ? k : 0;
  }
  if (error == cudaSuccess && n > most_n_) {
    error = grow(results_, kDecodeRows * n * std::int64_t{sizeof(float)});
    most_n_ = error == cudaSuccess ? n : 0;
  }
  return error;
}

Gemm::~Gemm() {
  cudaFree(workspace_);
  cudaFree(results_);
  cudaFree(rounded_);
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

cudaError_t Gemm::multiply(const GemmOnDevice& args, std::int64_t m, float* y, std::int64_t ldy,
                           bool accumulate, cudaStream_t stream) {
  const Product* by = product({m, args.n, args.k, ldy, rows_are_aligned_to_16(y, ldy), args.dtype});
  if (by == nullptr) return cudaErrorNotSupported;
  const float one = 1.0f, beta = accumulate ? 1.0f : 0.0f;
  const cublasStatus_t status =
      cublasLtMatmul(handle_, by->operation, &one, args.w, by->w, rounded_, by->x, &beta, y, by->y, y, by->y,
                     &by->algorithm, workspace_, kWorkspaceBytes, stream);
  return status == CUBLAS_STATUS_SUCCESS ? cudaSuccess : cudaErrorUnknown;
}

cudaError_t Gemm::round(const GemmOnDevice& args, std::int64_t first, std::int64_t rows,
                        std::int64_t padded_rows, cudaStream_t stream) {
  Stream queue(stream);
  const float* from = args.x + first * args.ldx;
  if (args.dtype == DType::kF32) {
    queue.launch<RoundRows<float>>(
        {from, args.ldx, rows, padded_rows, args.k, static_cast<float*>(rounded_)});
  } else {
    queue.launch<RoundRows<bf16>>({from, args.ldx, rows, padded_rows, args.k, static_cast<bf16*>(rounded_)});
  }
  return queue.error();
}

cudaError_t Gemm::run(const GemmOnDevice& args, cudaStream_t stream) {
  Stream queue(stream);
  if (const cudaError_t error = reserve(args.n, args.k); error != cudaSuccess) return error;
  for (const RowBlock& block : args.blocks) {
    const bool is_decode = block.kind == RowKind::kDecode;
    const std::int64_t most = is_decode ? kDecodeRows : kMostBlockRows;
    for (std::int64_t first = block.first; first < block.first + block.rows; first += most) {
      const std::int64_t rows = std::min(most, block.first + block.rows - first), m = is_decode ? most : rows;
      cudaError_t error = round(args, first, rows, m, stream);
      if (error != cudaSuccess) return error;  // what was rounded before is no operand
      float *y = args.y + first * args.ldy, *results = static_cast<float*>(results_);
      error = is_decode ? multiply(args, m, results, args.n, false, stream)
                        : multiply(args, m, y, args.ldy, args.accumulate, stream);
      if (error != cudaSuccess) return error;
      if (is_decode) queue.launch<PlaceRows>({results, rows, args.n, y, args.ldy, args.accumulate});
    }
  }
  return queue.error();
}

}  // namespace dslad::kernels::cuda
