// The gated delta rule on every backend.
#include <fmt/format.h>

#include "kernels/rows.h"
#include "tests/kernels/backends/backend_kinds.h"
#include "tests/kernels/backends/transfer.h"
#include "tests/kernels/delta_world.h"

namespace dslad::kernels::testing {
namespace {

// What calls the backend with arguments in its device's memory, and before() when they are there.
template <class Before>
auto by(Device& device, Backend& backend, const Before& before) {
  return [&device, &backend, before](DeltaRuleArgs args) {
    Transfer to(device, backend);
    const DslaShape& shape = args.shape;
    const std::int64_t rows = rows_with(args.pieces);
    args.q = to.copy(args.q, rows * args.q_stride);
    args.k = to.copy(args.k, rows * args.k_stride);
    args.v = to.copy(args.v, rows * args.v_stride);
    args.z = to.copy(args.z, rows * args.z_stride);
    args.bias = to.copy(args.bias, std::int64_t{2} * shape.n_kv);
    args.o = to.copy_back(args.o, rows * args.o_stride);
    std::vector<DslaPiece> pieces(args.pieces.begin(), args.pieces.end());
    for (DslaPiece& piece : pieces)
      piece.state = to.copy_back(piece.state, static_cast<std::int64_t>(shape.state_floats()));
    args.pieces = pieces;
    before();
    backend.delta_rule(args);
    to.fetch();
  };
}

class DeltaRuleOnEveryBackend : public OnEveryBackend {
 protected:
  auto there() {
    return by(*device, *backend, [] {});
  }

  void expect_reference(const DslaShape& shape, const std::vector<std::int64_t>& rows,
                        const DeltaLogits& logits) {
    SCOPED_TRACE(fmt::format("{}/{} heads, {} x {}, gates around {} and betas around {}", shape.n_heads,
                             shape.n_kv, shape.d_k, shape.d_v, logits.gate, logits.beta));
    DeltaWorld world(shape, 11, logits);
    for (const std::int64_t count : rows) world.add(count);
    const DslaOutcome actual = world.run_by(there()), expected = world.run_ref();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      EXPECT_TRUE(close(world.rows_of(actual, i), world.rows_of(expected, i), backend_tolerance(DType::kF32)))
          << rows[i] << " rows";
      EXPECT_TRUE(close(actual.states[i], expected.states[i], backend_tolerance(DType::kF32)))
          << rows[i] << " rows' state";
    }
  }
};

TEST_P(DeltaRuleOnEveryBackend, EqualsTheReference) {
  const std::vector<std::int64_t> rows = {1, 63, 64, 65, 1, 130, 2};
  for (const DslaShape& shape : {DslaShape{2, 2, 16, 16, 1}, DslaShape{3, 1, 64, 64, 1},
                                 DslaShape{4, 1, 32, 48, 1}, DslaShape{2, 1, 256, 64, 1}})
    expect_reference(shape, rows, {});
  expect_reference({8, 1, 128, 128, 1}, {1, 17}, {});
  expect_reference({2, 1, 512, 16, 1}, {1, 3}, {});
}

// States that keep all, that forget at once, keys that replace all and nothing, and some of each.
TEST_P(DeltaRuleOnEveryBackend, EqualsTheReferenceWithExtremeGatesAndBetas) {
  for (const DeltaLogits& logits : {DeltaLogits{1e4f, 0, 1e4f, 0}, DeltaLogits{-1e4f, 0, 1e4f, 0},
                                    DeltaLogits{1e4f, 0, -1e4f, 0}, DeltaLogits{0, 300, 0, 300}})
    expect_reference({2, 1, 32, 32, 1}, {1, 65, 100}, logits);
}

TEST_P(DeltaRuleOnEveryBackend, EqualsTheReferenceOfLongSequences) {
  if (!is_fast()) GTEST_SKIP() << "too long for kernels on the host";
  expect_reference({4, 1, 128, 128, 1}, {1000}, {});
  expect_reference({2, 1, 64, 64, 1}, {4097}, {});
}

TEST_P(DeltaRuleOnEveryBackend, ASequenceIsTheSameAloneInCompanyAndTwice) {
  DeltaWorld world({4, 2, 32, 32, 1}, 13);
  for (const std::int64_t rows : {1, 70, 1, 33}) world.add(rows);
  const DslaOutcome together = world.run_by(there());
  EXPECT_TRUE(same_bits(world.run_by(there()).o, together.o));
  for (std::size_t i = 0; i < world.size(); ++i) {
    const DslaOutcome alone = world.run_by(there(), {&i, 1});
    EXPECT_TRUE(same_bits(world.rows_of(alone, i), world.rows_of(together, i)));
    EXPECT_TRUE(same_bits(alone.states[i], together.states[i]));
  }
}

TEST_P(DeltaRuleOnEveryBackend, ALongPieceIsThatOfLaterCalls) {
  for (const std::int64_t rows : {2 * kPieceRows + 1, 2 * kPieceRows + 5}) {
    DeltaWorld world({2, 1, 32, 32, 1}, 14);
    world.add(rows);
    const DslaOutcome whole = world.run_by(there()), cut = world.run_cut(there(), kPieceRows);
    EXPECT_TRUE(same_bits(cut.o, whole.o)) << rows << " rows";
    EXPECT_TRUE(same_bits(cut.states[0], whole.states[0])) << rows << " rows";
  }
}

// What is reserved is enough: of all the pieces that a step within the limits may have, the shortest too.
TEST(DeltaRuleWithinItsLimits, TakesNoMemory) {
  DeltaWorld world({4, 1, 16, 16, 1}, 15);
  StepLimits limits;
  limits.layers = 1;
  limits.n_heads = 4;
  limits.kv = {DType::kF32, 1, 16};
  limits.most_d_k = 16;
  limits.context = 1;  // attention needs as little as can be
  for (std::int64_t i = 0; i < 40; ++i) world.add(i % 4 == 0 ? 1 : 2);
  world.add(300);
  limits.sequences = static_cast<std::int64_t>(world.size());
  limits.rows = world.span(world.size() - 1).first_row + 300;
  auto device = std::make_shared<cuda::testing::HostDevice>();
  const std::unique_ptr<Backend> backend = device->make_backend(1);
  const DslaOutcome expected = world.run_by(by(*device, *backend, [] {}));
  const std::unique_ptr<Backend> reserved = device->make_backend(1);
  ASSERT_TRUE(reserved->reserve(limits));
  const DslaOutcome actual = world.run_by(by(*device, *reserved, [&] { device->refuse_memory(); }));
  EXPECT_EQ(reserved->error(), "");
  EXPECT_TRUE(same_bits(actual.o, expected.o));
}

INSTANTIATE_TEST_SUITE_P(Backends, DeltaRuleOnEveryBackend, ::testing::ValuesIn(kBackendKinds), backend_name);

}  // namespace
}  // namespace dslad::kernels::testing
