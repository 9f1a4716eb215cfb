// What the engine takes of a CUDA device's memory, and that this is all: on the host's own device
// (host_device.h), which counts, and refuses what was not taken before.
#include <algorithm>
#include <memory>
#include <vector>

#include "tests/kernels/cuda_on_host/host_device.h"
#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

using kernels::WeightFormat;
using kernels::cuda::testing::HostDevice;

std::shared_ptr<HostDevice> device_of_64_mib() {
  return std::make_shared<HostDevice>(std::size_t{64} << 20);
}

// A device that counts: the default budget of a worker's caches rests on it.
TEST(CudaEngine, AnEngineTakesTheMemoryThatIsSaidBeforehand) {
  constexpr std::size_t kRounding = 64, kCaches = std::size_t{8} << 20;  // of each buffer
  const auto device = device_of_64_mib();
  device->take_later(std::size_t{1} << 20);
  const auto weights = golden_weights("stories260K", WeightFormat::kF32, device);
  EngineLimits limits;
  limits.cache_bytes = kCaches;
  limits.widest = undistilled_plans(*weights, 2).largest_plan()->widths();
  auto backend = device->make_backend(2);
  ASSERT_TRUE(Engine::reserve(*backend, *weights, limits).ok());
  const std::size_t free = *device->free_bytes(), said = Engine::bytes_beside(*weights, limits);
  const auto engine = Engine::create(std::move(backend), weights, limits);
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  const std::size_t taken = free - *device->free_bytes();
  EXPECT_GE(taken, said + kCaches - kRounding) << "what was reserved is not reserved again";
  EXPECT_LE(taken, said + kCaches + 12 * kRounding);
}

// Requests that take an engine to its limits each in its own way, on a device that has no more memory once
// the engine is made.
class CudaEngineAtItsLimits : public ::testing::Test {
 protected:
  static constexpr std::size_t kSequences = 64, kGraphs = std::size_t{1} << 20;

  CudaEngineAtItsLimits() {
    config_.hidden_size = 16;
    config_.intermediate_size = 24;
    config_.vocab_size = 300;
    config_.context = 1100;  // a little more than two partitions
    config_.layers = 2;
    config_.heads = 2;
    config_.kv_heads = 1;
    config_.head_dim = 8;
    config_.rms_norm_eps = 1e-5;
    config_.tie_word_embeddings = false;
    device_->take_later(kGraphs);
    weights_ = random_weights(config_, WeightFormat::kBf16, 9, device_);
    plans_ = std::make_unique<PlanSet>(undistilled_plans(*weights_, 2));
  }

  void expect_to_run(const std::vector<EngineRequest>& requests) {
    EngineLimits limits;
    limits.cache_bytes = std::size_t{8} << 20;
    limits.widest = plans_->largest_plan()->widths();
    limits.prefix_snapshots = false;
    const auto engine = Engine::create(device_->make_backend(1), weights_, limits);
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    device_->refuse_memory();
    const std::size_t free = *device_->free_bytes();
    for (const EngineRequest& request : requests) ASSERT_TRUE((*engine)->add(request).ok());
    Collector sink;
    int most = 0;
    for (bool ended = false; !ended;) {
      const auto stepped = (*engine)->step(sink);
      ASSERT_TRUE(stepped.ok()) << stepped.error().message;
      most = std::max(most, (*engine)->sequences_in_work());
      ended = !*stepped;
    }
    EXPECT_EQ(most, kSequences);
    EXPECT_EQ(sink.done.size(), requests.size());
    EXPECT_EQ(*device_->free_bytes(), free + kGraphs) << "what was kept for graphs, and nothing else";
  }

  EngineRequest request(RequestId id, std::size_t tokens, int plan, std::int64_t answer) {
    EngineRequest made =
        continuation(id, noise(tokens, static_cast<unsigned>(id)), answer, plans_->plan(plan));
    made.ignore_eos = true;
    made.likelihoods = true;
    return made;
  }

  LlamaConfig config_;
  std::shared_ptr<HostDevice> device_ = device_of_64_mib();
  std::shared_ptr<const ModelWeights> weights_;
  std::unique_ptr<PlanSet> plans_;
};

TEST_F(CudaEngineAtItsLimits, AsManyQuestionsOfADocumentAsLongAsTheContext) {
  EngineRequest questions = request(1, 1090, 0, 8);
  questions.tails.clear();
  for (unsigned i = 0; i < kSequences; ++i) questions.tails.push_back(noise(3, i));
  expect_to_run({questions});
}

TEST_F(CudaEngineAtItsLimits, AsManyShortPromptsOfAllPlans) {
  std::vector<EngineRequest> requests;
  for (RequestId id = 1; id <= kSequences; ++id)
    requests.push_back(request(id, id % 3 == 0 ? 2 : 9, static_cast<int>(id % 3), 12));
  expect_to_run(requests);
}

TEST_F(CudaEngineAtItsLimits, LongPromptsBesideAllOthersAnswers) {
  std::vector<EngineRequest> requests;
  for (RequestId id = 1; id < kSequences; ++id) requests.push_back(request(id, 5, id % 2 == 0 ? 2 : 0, 20));
  requests.push_back(request(kSequences, 1090, 2, 3));
  expect_to_run(requests);
}

// A device with room for what an operation needs, and not for the twice as much that would spare the next
// one.
TEST(CudaEngine, ScratchMemoryIsNoLargerThanWhatTheDeviceHas) {
  constexpr std::size_t kMostRows = 26'000, kForRows = 260'000;  // bytes that are left for the rows' numbers
  const auto device = std::make_shared<HostDevice>((1 + kMostRows) * sizeof(float) + kForRows);
  const auto backend = device->make_backend(1);
  const auto from = device->allocate(sizeof(float)), to = device->allocate(kMostRows * sizeof(float));
  const float seven = 7;
  device->write(from.get(), &seven, sizeof seven);
  for (const std::size_t count : {std::size_t{10'000}, std::size_t{22'500}, std::size_t{23'000}, kMostRows}) {
    const std::vector<std::int64_t> rows(count, 0);
    backend->fill(to.get(), std::byte{0}, kMostRows * sizeof(float));
    backend->gather(
        {reinterpret_cast<const float*>(from.get()), 1, rows, reinterpret_cast<float*>(to.get())});
    EXPECT_TRUE(backend->error().empty()) << count << " rows: " << backend->error();
    std::vector<float> gathered(count);
    backend->read(gathered.data(), to.get(), count * sizeof(float));
    EXPECT_EQ(std::ranges::count(gathered, seven), std::ssize(gathered));
  }
}

}  // namespace
}  // namespace dslad::worker
