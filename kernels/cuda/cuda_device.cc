#include "kernels/cuda/cuda_device.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/cuda/cuda_backend.h"

namespace dslad::kernels::cuda {

bool CudaDevice::holds(WeightFormat format) const {
  return !is_quantized(format);
}

std::unique_ptr<WeightMatrix> CudaDevice::make_matrix(std::int64_t n, std::int64_t k, WeightFormat format) {
  Buffer memory = allocate(static_cast<std::size_t>(n * k) * size_of(compute_type(format)));
  if (memory == nullptr) return nullptr;
  return std::make_unique<RowMajorMatrix>(*this, std::move(memory), n, k, format);
}

std::unique_ptr<Backend> CudaDevice::make_backend(int /*threads*/) {
  auto operations = make_operations();
  if (operations == nullptr) return nullptr;
  return std::make_unique<CudaBackend>(*this, std::move(operations));
}

RowMajorMatrix::RowMajorMatrix(CudaDevice& device, Device::Buffer memory, std::int64_t n, std::int64_t k,
                               WeightFormat format)
    : WeightMatrix(n, k, format), device_(device), memory_(std::move(memory)) {}

void RowMajorMatrix::pack_rows(std::int64_t first, std::int64_t rows, const float* source) {
  const auto values = static_cast<std::size_t>(rows * k());
  std::byte* to = memory_.get() + static_cast<std::size_t>(first * k()) * size_of(dtype());
  if (dtype() == DType::kF32) return device_.write(to, source, values * sizeof(float));
  std::vector<bf16> rounded(values);
  std::transform(source, source + values, rounded.begin(), [](float x) { return to_bf16(x); });
  device_.write(to, rounded.data(), values * sizeof(bf16));
}

std::size_t RowMajorMatrix::bytes() const {
  return static_cast<std::size_t>(n() * k()) * size_of(dtype());
}

}  // namespace dslad::kernels::cuda
