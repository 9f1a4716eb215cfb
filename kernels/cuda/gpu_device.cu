// The module's door: a CUDA device as the driver gives it.
#include <cstdio>
#include <cstring>
#include <cuda_runtime_api.h>
#include <string>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/first_error.h"
#include "kernels/cuda/gpu_operations.h"
#include "kernels/cuda/module.h"
#include "kernels/cuda/words.h"

namespace dslad::kernels::cuda {
namespace {

constexpr int kLeastCapability = 8;  // Ampere: bf16 on tensor cores

// Its own thread may have another device, so each call says which it means.
class GpuDevice final : public CudaDevice {
 public:
  explicit GpuDevice(int index) : index_(index), name_("cuda:" + std::to_string(index)) {}

  [[nodiscard]] std::string_view name() const override { return name_; }

  [[nodiscard]] std::string_view error() const override { return error_.get(); }

  // A fault of any kernel before shows here, too: then it is that, and no want of memory.
  [[nodiscard]] Buffer allocate(std::size_t bytes) override {
    std::byte* memory = nullptr;
    cudaError_t error = cudaSetDevice(index_);
    if (error == cudaSuccess) error = cudaMalloc(&memory, bytes);
    const bool is_made = error == cudaSuccess;
    // Backends' streams do not wait for the default one.
    if (error == cudaSuccess) error = cudaMemset(memory, 0, bytes);
    if (error == cudaSuccess) error = cudaStreamSynchronize(nullptr);
    if (error != cudaSuccess) {
      if (is_made) cudaFree(memory);
      memory = nullptr;
      static_cast<void>(cudaGetLastError());  // told by the null; the next operation shall not find it
      if (error != cudaErrorMemoryAllocation) keep("an allocation", error);
    }
    return {memory, [](std::byte* at) { cudaFree(at); }};
  }

  void write(void* to, const void* from, std::size_t bytes) override {
    cudaError_t error = cudaSetDevice(index_);
    if (error == cudaSuccess) error = cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice);
    if (error == cudaSuccess) error = cudaStreamSynchronize(nullptr);
    if (error != cudaSuccess) keep("a copy to the device", error);
  }

  [[nodiscard]] std::optional<std::size_t> free_bytes() const override {
    std::size_t free = 0, all = 0;
    cudaError_t error = cudaSetDevice(index_);
    if (error == cudaSuccess) error = cudaMemGetInfo(&free, &all);
    if (error == cudaSuccess) return free;
    keep("a question for its memory", error);
    return 0;
  }

 protected:
  [[nodiscard]] std::unique_ptr<Operations> make_operations() override {
    return GpuOperations::create(index_);
  }

 private:
  void keep(const char* what, cudaError_t error) const { error_.keep(failed_at(index_, what, words(error))); }

  int index_;
  std::string name_;
  mutable FirstError error_;
};

std::string why_not(int index, const char* version) {
  if (std::strcmp(version, DSLAD_VERSION) != 0) {
    return std::string("CUDA: the module is of dslad " DSLAD_VERSION ", the program of ") + version +
           "; install both from one build";
  }
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess)
    return "CUDA: no device can be used: " + words(error) +
           "; look at nvidia-smi, and at what a sandbox hides";
  if (index < 0 || index >= count) {
    return "CUDA: there is no device " + std::to_string(index) + "; the driver shows " +
           std::to_string(count);
  }
  int major = 0;
  const cudaError_t error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index);
  if (error != cudaSuccess) return "CUDA: " + words(error);
  if (major < kLeastCapability) {
    return "CUDA: device " + std::to_string(index) + " has compute capability " + std::to_string(major) +
           ", dslad needs 8 (Ampere) or newer";
  }
  return {};
}

}  // namespace
}  // namespace dslad::kernels::cuda

extern "C" __attribute__((visibility("default"))) dslad::kernels::Device* dslad_cuda_open_device(
    int index, const char* version, char* error, std::size_t error_bytes) {
  using namespace dslad::kernels::cuda;
  const std::string refused = why_not(index, version);
  std::snprintf(error, error_bytes, "%s", refused.c_str());
  return refused.empty() ? new GpuDevice(index) : nullptr;
}
