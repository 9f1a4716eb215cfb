// In which order prompts are read, and how much of each a step takes in.
#include <algorithm>

#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

using kernels::WeightFormat;

// An engine that reads prompts, and how much of each it has read after every step.
class Reading : public ::testing::Test {
 protected:
  void start(const EngineOptions& options = {}) { engine_ = engine_over(weights_, options); }
  void add(RequestId id, std::size_t tokens, std::int64_t answer = 1, int plan = 0) {
    ASSERT_TRUE(
        engine_->add(continuation(id, noise(tokens, static_cast<unsigned>(id)), answer, plans_.plan(plan)))
            .ok());
  }
  // Tokens that a step reads of each of these.
  std::vector<std::int64_t> step(const std::vector<RequestId>& ids) {
    std::vector<std::int64_t> read;
    read.reserve(ids.size());
    for (const RequestId id : ids) read.push_back(-sink_.progress[id].prompt_done);
    EXPECT_TRUE(engine_->step(sink_).ok());
    for (std::size_t i = 0; i < ids.size(); ++i) read[i] += sink_.progress[ids[i]].prompt_done;
    return read;
  }
  using Rows = std::vector<std::int64_t>;

  std::shared_ptr<const ModelWeights> weights_ = random_weights(company_config(), WeightFormat::kF32, 13);
  PlanSet plans_ = undistilled_plans(*weights_, 4);
  std::unique_ptr<Engine> engine_;
  Collector sink_;
};

TEST_F(Reading, ALonePromptHasAllOfAStep) {
  start();
  add(1, 512);
  EXPECT_EQ(step({1}), (Rows{512}));
  EXPECT_EQ(sink_.done, (std::vector<RequestId>{1}));
  add(2, 512, 1, 4);
  EXPECT_EQ(step({2}), (Rows{384})) << "a snapshot wants the states there";
  EXPECT_EQ(step({2}), (Rows{128}));
  start({.prefix_snapshots = false});
  add(3, 512, 1, 4);
  EXPECT_EQ(step({3}), (Rows{512}));
}

TEST_F(Reading, FirstComeFirstServed) {
  start();
  for (RequestId id = 1; id <= 3; ++id) add(id, 600);
  EXPECT_EQ(step({1, 2, 3}), (Rows{512, 0, 0}));
  EXPECT_FALSE(engine_->begun(2));
  EXPECT_EQ(step({1, 2, 3}), (Rows{88, 512, 0})) << "what the first leaves, by whole pieces";
  EXPECT_EQ((sink_.answers[{1, 0}].size()), 1u) << "before the second one's prompt is done";
  EXPECT_FALSE(engine_->begun(3));
  EXPECT_EQ(step({2, 3}), (Rows{88, 512}));
  EXPECT_EQ(step({3}), (Rows{88}));
  EXPECT_EQ(sink_.done, (std::vector<RequestId>{1, 2, 3}));
}

TEST_F(Reading, AShortPromptDoesNotWaitForALongOne) {
  start();
  add(1, 1'900);
  EXPECT_EQ(step({1}), (Rows{512}));
  add(2, 1'800);
  add(3, 200, 2);
  EXPECT_EQ(step({1, 2, 3}), (Rows{384, 0, 128}));
  EXPECT_EQ(step({1, 2, 3}), (Rows{512, 0, 72}));
  EXPECT_EQ((sink_.answers[{3, 0}].size()), 1u);
  EXPECT_EQ(step({1, 2}), (Rows{492, 128}));
  EXPECT_EQ(sink_.done, (std::vector<RequestId>{1, 3}));
}

TEST_F(Reading, ShortPromptsTakeAQuarterFromALongOneAtMost) {
  start();
  add(1, 1'900);
  for (RequestId id = 2; id < 6; ++id) {
    add(id, 128);
    EXPECT_EQ(step({1, id}), (Rows{384, 128}));
  }
  EXPECT_EQ(step({1}), (Rows{364}));
  start({.prefill_rows = 128});  // a single piece a step: nothing to keep
  add(10, 300);
  add(11, 20);
  EXPECT_EQ(step({10, 11}), (Rows{128, 0}));
}

TEST_F(Reading, FewPromptsAreHalfRead) {
  start();
  std::vector<RequestId> ids;
  for (RequestId id = 1; id <= 12; ++id) {
    add(id, 150 * (1 + id * 7 % 12), 3, static_cast<int>(id % 5));
    ids.push_back(id);
  }
  while (sink_.done.size() < ids.size()) {
    for (const std::int64_t read : step(ids)) EXPECT_LE(read, 512);
    const auto half_read = std::ranges::count_if(ids, [&](RequestId id) {
      const RequestProgress& its = sink_.progress[id];
      return its.prompt_done > 0 && its.prompt_done < its.prompt_total;
    });
    EXPECT_LE(half_read, 3) << "the oldest, the shortest, and whoever had what they left";
  }
}

}  // namespace
}  // namespace dslad::worker
