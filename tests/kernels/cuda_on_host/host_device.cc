#include "tests/kernels/cuda_on_host/host_device.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/attention/cuda/attention.cuh"
#include "kernels/attention/cuda/window_attention.cuh"
#include "kernels/bias/cuda/bias.cuh"
#include "kernels/cuda/embed.cuh"
#include "kernels/delta/cuda/delta_rule.cuh"
#include "kernels/dsla/cuda/dsla.cuh"
#include "kernels/dsla/cuda/feature_map.cuh"
#include "kernels/dsla/cuda/head_share.cuh"
#include "kernels/gemm/cuda/gemm_blocks.cuh"
#include "kernels/mlp/cuda/swiglu.cuh"
#include "kernels/move/cuda/move.cuh"
#include "kernels/norm/cuda/rms_norm.cuh"
#include "kernels/rope/cuda/rope.cuh"
#include "kernels/sample/cuda/sample.cuh"
#include "tests/kernels/cuda_on_host/executor.h"
#include "tests/kernels/cuda_on_host/plain_product.h"

namespace dslad::kernels::cuda::testing {
namespace {

// Every block of the device's memory, open while someone works with it; the page behind it never is.
class DeviceMemory {
 public:
  std::byte* allocate(std::size_t bytes) {
    void* block = mmap(nullptr, with_guard(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return nullptr;
    blocks_[static_cast<std::byte*>(block)] = bytes;
    used_ += bytes;
    return static_cast<std::byte*>(block);
  }
  void free(std::byte* block) {
    const auto found = blocks_.find(block);
    munmap(block, with_guard(found->second));
    used_ -= found->second;
    blocks_.erase(found);
  }
  void open(bool opened) const {
    for (const auto& [block, bytes] : blocks_)
      mprotect(block, bytes, opened ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
  [[nodiscard]] std::size_t used() const { return used_; }

 private:
  static std::size_t with_guard(std::size_t bytes) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return (bytes + page - 1) / page * page + page;
  }

  std::map<std::byte*, std::size_t> blocks_;
  std::size_t used_ = 0;
};

DeviceMemory& memory() {
  static DeviceMemory memory;
  return memory;
}

class Opened {
 public:
  Opened() { memory().open(true); }
  ~Opened() { memory().open(false); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
};

constexpr std::string_view kFailed = "CUDA: device 0 failed at or before a test";

class HostOperations final : public Operations {
 public:
  HostOperations(std::shared_ptr<int> left, std::shared_ptr<int> under_way,
                 std::shared_ptr<std::vector<HostDevice::Asked>> steps, std::size_t later_bytes)
      : later_bytes_(later_bytes),
        left_(std::move(left)),
        under_way_(std::move(under_way)),
        steps_(std::move(steps)) {}

  [[nodiscard]] std::string_view error() const override { return *left_ < 0 ? kFailed : ""; }

  [[nodiscard]] std::size_t later_bytes() const override { return later_bytes_; }

  void embed(const EmbedArgs& args) override { launch<Embed>(args); }
  void rms_norm(const RmsNormArgs& args) override {
    perform([&] { cuda::rms_norm(executor_, args); });
  }
  void gemm(const GemmOnDevice& args) override {
    perform([&] {
      gemm_by_blocks(executor_, args, [&](std::int64_t m, float* y, std::int64_t ldy, bool accumulate) {
        plain_product(args, m, y, ldy, accumulate);
        return true;
      });
    });
  }
  void bias(const BiasArgs& args) override { launch<AddBias>(args); }
  void rope(const RopeOnDevice& args) override { launch<Rope>(args); }
  void attention(const AttentionOnDevice& args) override {
    perform([&] { cuda::attention(executor_, args); });
  }
  void window_attention(const WindowOnDevice& args) override {
    perform([&] { cuda::window_attention(executor_, args); });
  }
  void dsla(const DslaOnDevice& args) override {
    perform([&] { cuda::dsla(executor_, args); });
  }
  void delta_rule(const DeltaRuleOnDevice& args) override {
    perform([&] { cuda::delta_rule(executor_, args); });
  }
  void feature_map(const FeatureMapArgs& args) override { launch<MapFeatures>(args); }
  void head_share(const HeadShareArgs& args) override { launch<AddHeadShare>(args); }
  void swiglu(const SwiGluArgs& args) override { launch<SwiGlu>(args); }
  void gather(const GatherOnDevice& args) override { launch<GatherRows>(args); }
  void narrow_heads(const NarrowHeadsArgs& args) override { launch<NarrowHeads>(args); }
  void sample(const SampleOnDevice& args) override { launch<SampleRow>(args); }
  void log_probabilities(const LogProbabilityOnDevice& args) override { launch<LogProbability>(args); }

  void run(const Step& step) override {
    steps_->push_back({step.key(), step.size()});
    step.run(*this);
  }

  void write(void* to, const void* from, std::size_t bytes) override {
    perform([&] { std::memcpy(to, from, bytes); });
  }
  void copy(void* to, const void* from, std::size_t bytes) override { write(to, from, bytes); }
  void fill(void* at, std::byte value, std::size_t bytes) override {
    perform([&] { std::memset(at, std::to_integer<int>(value), bytes); });
  }
  void read(void* to, const void* from, std::size_t bytes) override {
    write(to, from, bytes);
    wait();
  }
  void begin_read(const void* from, std::size_t bytes) override {
    Read& read = reads_.emplace_back();
    perform([&] {
      const auto* first = static_cast<const std::byte*>(from);
      read.bytes.assign(first, first + bytes);
    });
    read.queued = queued_;
  }
  void end_read(void* to) override {
    const Read read = std::move(reads_.front());
    reads_.pop_front();
    if (*left_ >= 0) std::memcpy(to, read.bytes.data(), read.bytes.size());
    done_up_to(read.queued);
  }
  void wait() override { done_up_to(queued_); }

 private:
  struct Read {
    std::vector<std::byte> bytes;
    int queued = 0;  // operations, its own included
  };
  template <class Work>
  void perform(const Work& work) {
    if (*left_ < 0 || --*left_ < 0) return;
    const Opened opened;
    work();
    ++queued_;
    ++*under_way_;
  }
  void done_up_to(int queued) {
    done_ = std::max(done_, queued);
    *under_way_ = queued_ - done_;
  }
  template <class Kernel>
  void launch(const typename Kernel::Args& args) {
    perform([&] { executor_.launch<Kernel>(args); });
  }

  std::size_t later_bytes_;
  std::shared_ptr<int> left_;  // operations; below 0: it has failed
  std::shared_ptr<int> under_way_;
  std::shared_ptr<std::vector<HostDevice::Asked>> steps_;
  Executor executor_;
  std::deque<Read> reads_;
  int queued_ = 0, done_ = 0;
};

}  // namespace

HostDevice::HostDevice(std::size_t bytes, std::int64_t piece_rows) : bytes_(bytes), piece_rows_(piece_rows) {}

Device::Buffer HostDevice::allocate(std::size_t bytes) {
  const bool has_room = error().empty() && !refuses_ && bytes <= *free_bytes();
  std::byte* block = has_room ? memory().allocate(bytes) : nullptr;
  return {block, [](std::byte* at) { memory().free(at); }};
}

std::string_view HostDevice::error() const {
  return *operations_left_ < 0 ? kFailed : "";
}

void HostDevice::write(void* to, const void* from, std::size_t bytes) {
  const Opened opened;
  std::memcpy(to, from, bytes);
}

std::optional<std::size_t> HostDevice::free_bytes() const {
  return bytes_ - std::min(bytes_, memory().used());
}

void HostDevice::break_down(int after) {
  *operations_left_ = after;
}

std::unique_ptr<Operations> HostDevice::make_operations() {
  return std::make_unique<HostOperations>(operations_left_, under_way_, steps_, later_bytes_);
}

}  // namespace dslad::kernels::cuda::testing
