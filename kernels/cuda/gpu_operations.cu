#include <cstring>
#include <utility>

#include "kernels/cuda/gpu_operations.cuh"

namespace dslad::kernels::cuda {
namespace {

constexpr std::size_t kPinnedBytes = std::size_t{8} << 20;
constexpr std::size_t kLeastRecorded = 16;  // operations; fewer are launched as quickly

}  // namespace

std::unique_ptr<GpuOperations> GpuOperations::create(int index) {
  std::unique_ptr<GpuOperations> made(new GpuOperations(index));
  const bool is_ready = cudaSetDevice(index) == cudaSuccess &&
                        cudaStreamCreateWithFlags(&made->stream_, cudaStreamNonBlocking) == cudaSuccess &&
                        cudaMallocHost(&made->pinned_, kPinnedBytes) == cudaSuccess;
  if (is_ready) made->gemm_ = Gemm::create();
  static_cast<void>(cudaGetLastError());  // told by the null; the next operation shall not find it
  return made->gemm_ != nullptr ? std::move(made) : nullptr;
}

GpuOperations::~GpuOperations() {
  cudaSetDevice(index_);
  if (stream_ != nullptr) cudaStreamSynchronize(stream_);
  graphs_.clear();
  gemm_.reset();
  if (pinned_ != nullptr) cudaFreeHost(pinned_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

void GpuOperations::gemm(const GemmOnDevice& args) {
  run("gemm", [&] { return gemm_->run(args, stream_); });
}

void GpuOperations::run(const Step& step) {
  if (!can_record_ || step.size() < kLeastRecorded) return step.run(*this);
  auto& entry = graphs_.come(step.key());
  if (entry.made == nullptr && entry.came_before) entry.made = record(step);
  if (entry.made == nullptr) return step.run(*this);
  run("a step", [&] { return cudaGraphLaunch(entry.made.get(), stream_); });
}

// A step that cannot be recorded is no fault: it is launched operation by operation, as every later one.
GpuOperations::Graph GpuOperations::record(const Step& step) {
  if (!error_.empty() || cudaSetDevice(index_) != cudaSuccess) return nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t made = nullptr;
  bool is_recorded = cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
  if (is_recorded) {
    step.run(*this);
    is_recorded = cudaStreamEndCapture(stream_, &graph) == cudaSuccess && error_.empty() &&
                  cudaGraphInstantiateWithFlags(&made, graph, 0) == cudaSuccess;
  }
  if (graph != nullptr) cudaGraphDestroy(graph);
  if (!is_recorded) {
    can_record_ = false;
    error_.clear();  // of the recording; what the device itself has is there at the next operation
    static_cast<void>(cudaGetLastError());
  }
  return Graph(made);
}

void GpuOperations::write(void* to, const void* from, std::size_t bytes) {
  run("a copy to the device", [&] {
    if (bytes > kPinnedBytes) {
      const cudaError_t error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_);
      return error != cudaSuccess ? error : cudaStreamSynchronize(stream_);
    }
    if (pinned_used_ + bytes > kPinnedBytes) {
      if (const cudaError_t error = cudaStreamSynchronize(stream_); error != cudaSuccess) return error;
      pinned_used_ = 0;
    }
    std::byte* const at = pinned_ + pinned_used_;
    std::memcpy(at, from, bytes);
    pinned_used_ += (bytes + 63) / 64 * 64;
    return cudaMemcpyAsync(to, at, bytes, cudaMemcpyHostToDevice, stream_);
  });
}

void GpuOperations::copy(void* to, const void* from, std::size_t bytes) {
  run("a copy", [&] { return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_); });
}

void GpuOperations::fill(void* at, std::byte value, std::size_t bytes) {
  run("a fill", [&] { return cudaMemsetAsync(at, std::to_integer<int>(value), bytes, stream_); });
}

void GpuOperations::read(void* to, const void* from, std::size_t bytes) {
  run("a copy from the device", [&] {
    const cudaError_t error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_);
    return error != cudaSuccess ? error : cudaStreamSynchronize(stream_);
  });
  if (error_.empty()) pinned_used_ = 0;  // all that was copied before has arrived
}

void GpuOperations::wait() {
  run("a step", [&] { return cudaStreamSynchronize(stream_); });
  if (error_.empty()) pinned_used_ = 0;
}

}  // namespace dslad::kernels::cuda
