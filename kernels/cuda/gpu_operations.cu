#include <cstring>

#include "kernels/cuda/gpu_operations.h"
#include "kernels/cuda/launch.h"

namespace dslad::kernels::cuda {
namespace {

constexpr std::size_t kPinnedBytes = std::size_t{8} << 20;

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
  gemm_.reset();
  if (pinned_ != nullptr) cudaFreeHost(pinned_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

template <class Call>
void GpuOperations::run(const char* what, const Call& call) {
  if (!error_.empty()) return;
  cudaError_t error = cudaSetDevice(index_);
  if (error == cudaSuccess) error = call();
  if (error == cudaSuccess) return;
  error_ = std::string("CUDA: device ") + std::to_string(index_) + " failed at or before " + what + ": " +
           cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")";
}

void GpuOperations::embed(const EmbedArgs& args) {
  run("embed", [&] { return launch_embed(args, stream_); });
}
void GpuOperations::rms_norm(const RmsNormArgs& args) {
  run("rms_norm", [&] { return launch_rms_norm(args, stream_); });
}
void GpuOperations::gemm(const GemmOnDevice& args) {
  run("gemm", [&] { return gemm_->run(args, stream_); });
}
void GpuOperations::bias(const BiasArgs& args) {
  run("bias", [&] { return launch_bias(args, stream_); });
}
void GpuOperations::rope(const RopeOnDevice& args) {
  run("rope", [&] { return launch_rope(args, stream_); });
}
void GpuOperations::attention(const AttentionOnDevice& args) {
  run("attention", [&] { return launch_attention(args, stream_); });
}
void GpuOperations::window_attention(const WindowOnDevice& args) {
  run("window attention", [&] { return launch_window_attention(args, stream_); });
}
void GpuOperations::dsla(const DslaOnDevice& args) {
  run("DSLA", [&] { return launch_dsla(args, stream_); });
}
void GpuOperations::feature_map(const FeatureMapArgs& args) {
  run("feature map", [&] { return launch_feature_map(args, stream_); });
}
void GpuOperations::head_share(const HeadShareArgs& args) {
  run("head share", [&] { return launch_head_share(args, stream_); });
}
void GpuOperations::swiglu(const SwiGluArgs& args) {
  run("SwiGLU", [&] { return launch_swiglu(args, stream_); });
}
void GpuOperations::gather(const GatherOnDevice& args) {
  run("gather", [&] { return launch_gather(args, stream_); });
}
void GpuOperations::narrow_heads(const NarrowHeadsArgs& args) {
  run("narrow heads", [&] { return launch_narrow_heads(args, stream_); });
}
void GpuOperations::sample(const SampleOnDevice& args) {
  run("sample", [&] { return launch_sample(args, stream_); });
}
void GpuOperations::log_probabilities(const LogProbabilityOnDevice& args) {
  run("log probabilities", [&] { return launch_log_probability(args, stream_); });
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

}  // namespace dslad::kernels::cuda
