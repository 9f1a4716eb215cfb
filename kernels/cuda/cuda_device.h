// Memory and weights of a CUDA device, whoever provides them: the driver (gpu_device.cu), or the tests'
// executor.
#pragma once

#include <memory>

#include "kernels/cuda/operations.h"
#include "kernels/device.h"

namespace dslad::kernels::cuda {

class CudaDevice : public Device {
 public:
  [[nodiscard]] bool holds(WeightFormat format) const override;
  // Row by row, as cuBLASLt takes it.
  [[nodiscard]] std::unique_ptr<WeightMatrix> make_matrix(std::int64_t n, std::int64_t k,
                                                          WeightFormat format) override;
  [[nodiscard]] std::unique_ptr<Backend> make_backend(int threads) override;
  [[nodiscard]] std::int64_t piece_rows() const override { return kMostBlockRows; }

 protected:
  // Null: the device has not what they need.
  [[nodiscard]] virtual std::unique_ptr<Operations> make_operations() = 0;
};

// A matrix of such a device.
class RowMajorMatrix final : public WeightMatrix {
 public:
  RowMajorMatrix(CudaDevice& device, Device::Buffer memory, std::int64_t n, std::int64_t k,
                 WeightFormat format);

  void pack_rows(std::int64_t first, std::int64_t rows, const float* source) override;
  [[nodiscard]] std::size_t bytes() const override;
  [[nodiscard]] DType dtype() const { return compute_type(format()); }
  [[nodiscard]] const void* data() const { return memory_.get(); }  // [n, k], f32 or bf16

 private:
  CudaDevice& device_;
  Device::Buffer memory_;
};

}  // namespace dslad::kernels::cuda
