// How the time of steps is divided among the requests that took part.
#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

using kernels::WeightFormat;

// Keeps what each request's steps took.
class Timekeeper : public Collector {
 public:
  void on_done(RequestId id, const RequestProgress& p, const RequestTimes& its) override {
    Collector::on_done(id, p, its);
    times[id] = its;
  }
  std::map<RequestId, RequestTimes> times;
};

TEST(Engine, SharesOfTheWorkAddUpToTheTimeOfTheSteps) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 18);
  const PlanSet plans = undistilled_plans(*weights, 4);
  const auto engine = engine_over(weights);
  for (RequestId id = 0; id < 6; ++id) {
    EngineRequest request =
        continuation(id, noise(100 + 150 * id, 1), 20, plans.plan(static_cast<int>(id % 5)));
    if (id == 3) request.tails = {noise(9, 1), noise(70, 2), noise(3, 3)};
    ASSERT_TRUE(engine->add(std::move(request)).ok());
  }
  Timekeeper sink;
  run_to_end(*engine, sink);
  double sum = 0;
  for (const auto& [id, times] : sink.times) {
    EXPECT_GT(times.prefill_work_ms, 0);
    EXPECT_GT(times.decode_work_ms, 0);
    EXPECT_LE(times.prefill_work_ms + times.decode_work_ms, times.prefill_ms + times.decode_ms);
    EXPECT_GE(times.batch(), 1);
    EXPECT_LE(times.batch(), 8) << "six requests, one of them with three answers";
    sum += times.prefill_work_ms + times.decode_work_ms;
  }
  EXPECT_NEAR(sum, engine->counters().busy_ms, 1e-6 * engine->counters().busy_ms);
}

TEST(Engine, ARequestAloneHasAllOfTheWork) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 18);
  const PlanSet plans = undistilled_plans(*weights);
  const auto engine = engine_over(weights);
  ASSERT_TRUE(engine->add(continuation(1, noise(300, 1), 20, plans.plan(0))).ok());
  Timekeeper sink;
  run_to_end(*engine, sink);
  const RequestTimes& times = sink.times[1];
  EXPECT_DOUBLE_EQ(times.prefill_work_ms, times.prefill_ms);
  EXPECT_DOUBLE_EQ(times.decode_work_ms, times.decode_ms);
  EXPECT_EQ(times.batch(), 1);
  ASSERT_TRUE(engine->add(continuation(2, noise(300, 1), 1, plans.plan(0))).ok());
  run_to_end(*engine, sink);
  EXPECT_EQ(sink.times[2].batch(), 0) << "its prompt gave its only token";
}

}  // namespace
}  // namespace dslad::worker
