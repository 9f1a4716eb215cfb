// What CUDA and cuBLAS call an error; empty: there was none. For CUDA's compilers alone.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <string>

namespace dslad::kernels::cuda {

inline std::string words(cudaError_t error) {
  if (error == cudaSuccess) return {};
  return std::string(cudaGetErrorString(error)) + " (" + cudaGetErrorName(error) + ")";
}

inline std::string words(std::string told) {
  return told;
}

inline std::string words(cublasStatus_t status) {
  if (status == CUBLAS_STATUS_SUCCESS) return {};
  return std::string("cuBLAS: ") + cublasLtGetStatusString(status) + " (" + cublasLtGetStatusName(status) +
         ")";
}

// A device's own error, whatever of `what` and what was queued before it is to blame.
inline std::string failed_at(int index, const char* what, const std::string& words) {
  return "CUDA: device " + std::to_string(index) + " failed at or before " + what + ": " + words;
}

}  // namespace dslad::kernels::cuda
