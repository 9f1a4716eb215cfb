#include "worker/service/plan_control.h"

#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

using schema::LayerState;

class PlanControlTest : public testing::Test {
 protected:
  schema::PlanResult change(std::uint32_t plan, bool allow_undistilled) {
    return control_.change({1, plan, allow_undistilled, "a test"});
  }

  std::unique_ptr<Engine> engine_ = engine_over(golden_weights("stories260K", kernels::DType::kF32));
  PlanControl control_{*engine_};
};

TEST_F(PlanControlTest, RefusesLayersThatWereNeverDistilled) {
  const auto result = change(2, false);
  ASSERT_TRUE(result.error.has_value());
  EXPECT_EQ(result.error->code, ErrorCode::kRefused);
  EXPECT_EQ(control_.plan(), 0);
  EXPECT_EQ(engine_->largest_plan(), 0) << "nothing has changed";
}

TEST_F(PlanControlTest, RefusesMoreLayersThanThereAre) {
  EXPECT_EQ(change(6, true).error->code, ErrorCode::kInvalidArgument);
}

TEST_F(PlanControlTest, ConvertsAndRevertsByTheOrderAndSaysWhatChanged) {
  const auto up = change(2, true);
  ASSERT_FALSE(up.error.has_value());
  EXPECT_EQ(up.plan, 2u);
  ASSERT_EQ(up.changes.size(), 2u);
  EXPECT_EQ(up.changes[1].layer, 1u);
  EXPECT_EQ(up.changes[1].from, LayerState::kTransformer);
  EXPECT_EQ(up.changes[1].to, LayerState::kActive);
  EXPECT_EQ(up.changes[1].reason, "a test");

  const auto down = change(1, true);
  ASSERT_EQ(down.changes.size(), 1u);
  EXPECT_EQ(down.changes[0].layer, 1u);
  EXPECT_EQ(down.changes[0].to, LayerState::kReverted);
  EXPECT_EQ(down.layer_info[0].state, LayerState::kActive);
  EXPECT_EQ(down.layer_info[2].state, LayerState::kTransformer);

  EXPECT_TRUE(change(1, true).changes.empty()) << "the plan it already has";
}

}  // namespace
}  // namespace dslad::worker
