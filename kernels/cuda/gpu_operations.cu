#include <cstring>
#include <utility>

#include "kernels/cuda/gpu_operations.cuh"

namespace dslad::kernels::cuda {
namespace {

constexpr std::size_t kPinnedBytes = std::size_t{8} << 20;
// Not measured on any device: what a graph of 32 layers takes, and the code of kernels that CUDA and cuBLAS
// load when they are launched first.
constexpr std::size_t kMostGraphBytes = std::size_t{128} << 20, kCodeBytes = std::size_t{128} << 20;
constexpr std::size_t kLeastRecorded = 16;  // operations; fewer are launched as quickly

}  // namespace

GpuOperations::GpuOperations(int index) : index_(index), graphs_(kMostGraphBytes) {}

std::unique_ptr<GpuOperations> GpuOperations::create(int index) {
  std::unique_ptr<GpuOperations> made(new GpuOperations(index));
  const bool is_ready = cudaSetDevice(index) == cudaSuccess &&
                        cudaStreamCreateWithFlags(&made->stream_, cudaStreamNonBlocking) == cudaSuccess &&
                        made->writes_[0].reserve(kPinnedBytes) == cudaSuccess &&
                        made->writes_[1].reserve(kPinnedBytes) == cudaSuccess;
  if (is_ready) made->gemm_ = Gemm::create();
  static_cast<void>(cudaGetLastError());  // told by the null; the next operation shall not find it
  return made->gemm_ != nullptr ? std::move(made) : nullptr;
}

GpuOperations::~GpuOperations() {
  cudaSetDevice(index_);
  if (stream_ != nullptr) cudaStreamSynchronize(stream_);
  graphs_.clear();
  gemm_.reset();
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

std::size_t GpuOperations::later_bytes() const {
  return kMostGraphBytes + kCodeBytes;
}

void GpuOperations::gemm(const GemmOnDevice& args) {
  run("gemm", [&] { return gemm_->run(args, stream_); });
}

void GpuOperations::run(const Step& step) {
  if (!error_.empty() || step.size() < kLeastRecorded) return step.run(*this);
  const Graph* graph = graphs_.come(step.key(), [&] { return record(step); });
  if (graph == nullptr) return step.run(*this);
  run("a step", [&] { return cudaGraphLaunch(graph->get(), stream_); });
}

// A step that cannot be recorded is no fault: it is launched operation by operation.
GraphCache<GpuOperations::Graph>::Made GpuOperations::record(const Step& step) {
  std::size_t before = 0, after = 0, all = 0;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t made = nullptr;
  cudaError_t error = cudaSetDevice(index_);
  if (error == cudaSuccess) error = cudaMemGetInfo(&before, &all);
  if (error == cudaSuccess) error = cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal);
  if (error == cudaSuccess) {
    step.run(*this);
    error = cudaStreamEndCapture(stream_, &graph);
  }
  if (error == cudaSuccess && error_.empty()) error = cudaGraphInstantiateWithFlags(&made, graph, 0);
  if (graph != nullptr) cudaGraphDestroy(graph);
  // Now, so that its memory is counted and the first launch takes none.
  if (error == cudaSuccess && made != nullptr) error = cudaGraphUpload(made, stream_);
  if (error == cudaSuccess && made != nullptr) error = cudaStreamSynchronize(stream_);
  if (error == cudaSuccess && made != nullptr) error = cudaMemGetInfo(&after, &all);
  GraphCache<Graph>::Made result{Graph(made), before > after ? before - after : 0, {}};
  if (error != cudaSuccess || !error_.empty()) {
    // What failed within is of the recording; what the device itself has is there at the next operation.
    result = {nullptr, 0, error_.empty() ? words(error) : std::exchange(error_, {})};
    static_cast<void>(cudaGetLastError());
  }
  return result;
}

std::string GpuOperations::notes() const {
  const auto& [recorded, launched, refused, why_not] = graphs_.counts();
  std::string notes = std::to_string(recorded) + " graphs recorded and launched " + std::to_string(launched) +
                      " times, " + std::to_string(graphs_.size()) + " kept in " +
                      std::to_string(graphs_.bytes() >> 20) + " MiB";
  if (refused == 0) return notes;
  notes +=
      "; " + std::to_string(refused) + " refused" + (graphs_.has_given_up() ? ", no more are tried" : "");
  return notes + ": " + why_not;
}

void GpuOperations::write(void* to, const void* from, std::size_t bytes) {
  run("a copy to the device", [&] {
    if (bytes > kPinnedBytes) {
      const cudaError_t error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_);
      return error != cudaSuccess ? error : cudaStreamSynchronize(stream_);
    }
    if (filled_ + bytes > kPinnedBytes) {
      cudaError_t error = writes_[filling_].mark(stream_);
      filling_ = 1 - filling_;
      if (error == cudaSuccess) error = writes_[filling_].wait();
      if (error != cudaSuccess) return error;
      filled_ = 0;
    }
    std::byte* const at = writes_[filling_].data() + filled_;
    std::memcpy(at, from, bytes);
    filled_ += (bytes + 63) / 64 * 64;
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
}

void GpuOperations::begin_read(const void* from, std::size_t bytes) {
  Read& read = reads_[reads_begun_++ % reads_.size()];
  run("a copy from the device", [&] {
    read.bytes = bytes;
    cudaError_t error = read.at.reserve(bytes);
    if (error == cudaSuccess)
      error = cudaMemcpyAsync(read.at.data(), from, bytes, cudaMemcpyDeviceToHost, stream_);
    return error == cudaSuccess ? read.at.mark(stream_) : error;
  });
}

void GpuOperations::end_read(void* to) {
  const Read& read = reads_[reads_ended_++ % reads_.size()];
  run("a step", [&] {
    const cudaError_t error = read.at.wait();
    if (error == cudaSuccess) std::memcpy(to, read.at.data(), read.bytes);
    return error;
  });
}

void GpuOperations::wait() {
  run("a step", [&] { return cudaStreamSynchronize(stream_); });
}

GpuOperations::Pinned::~Pinned() {
  if (marked_ != nullptr) cudaEventDestroy(marked_);
  if (memory_ != nullptr) cudaFreeHost(memory_);
}

cudaError_t GpuOperations::Pinned::reserve(std::size_t bytes) {
  if (bytes <= bytes_) return cudaSuccess;
  cudaError_t error =
      marked_ != nullptr ? cudaSuccess : cudaEventCreateWithFlags(&marked_, cudaEventDisableTiming);
  if (memory_ != nullptr) cudaFreeHost(memory_);
  memory_ = nullptr;
  bytes_ = 0;
  if (error == cudaSuccess) error = cudaMallocHost(&memory_, bytes);
  if (error == cudaSuccess) bytes_ = bytes;
  return error;
}

cudaError_t GpuOperations::Pinned::mark(cudaStream_t stream) {
  return cudaEventRecord(marked_, stream);
}

cudaError_t GpuOperations::Pinned::wait() const {
  return cudaEventSynchronize(marked_);
}

}  // namespace dslad::kernels::cuda
