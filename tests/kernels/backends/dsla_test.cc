// Dual-state linear attention and what stands around it, on every backend.
#include <fmt/format.h>

#include "kernels/dsla/feature_map.h"
#include "kernels/dsla/head_share.h"
#include "tests/kernels/backends/backend_kinds.h"
#include "tests/kernels/backends/transfer.h"
#include "tests/kernels/dsla_world.h"

namespace dslad::kernels::testing {
namespace {

class DslaOnEveryBackend : public OnEveryBackend {
 protected:
  // Of all sequences, or of some.
  DslaOutcome run(const DslaWorld& world, const std::vector<std::size_t>& which) {
    return world.run_by(
        [&](DslaArgs args) {
          Transfer to(*device, *backend);
          const DslaShape& shape = args.shape;
          const std::int64_t gates = shape.n_kv * shape.channels();
          const std::int64_t rows = rows_with(args.pieces);
          args.q = to.copy(args.q, rows * args.q_stride);
          args.k = to.copy(args.k, rows * args.k_stride);
          args.v = to.copy(args.v, rows * args.v_stride);
          args.z = to.copy(args.z, rows * args.z_stride);
          args.gate_bias = to.copy(args.gate_bias, gates);
          args.mix = to.copy(args.mix, std::int64_t{shape.states} * shape.n_heads);
          args.o = to.copy_back(args.o, rows * args.o_stride);
          std::vector<DslaPiece> pieces(args.pieces.begin(), args.pieces.end());
          for (DslaPiece& piece : pieces)
            piece.state = to.copy_back(piece.state, static_cast<std::int64_t>(shape.state_floats()));
          args.pieces = pieces;
          backend->dsla(args);
          to.fetch();
        },
        which);
  }

  void expect_reference(const DslaShape& shape, const std::vector<std::int64_t>& rows,
                        const GateLogits& gates) {
    SCOPED_TRACE(fmt::format("{}/{} heads, {} x {} x {}, gates around {} and {}", shape.n_heads, shape.n_kv,
                             shape.states, shape.d_k, shape.d_v, gates.mean[0], gates.mean[1]));
    DslaWorld world(shape, 11, gates);
    std::vector<std::size_t> all;
    for (const std::int64_t count : rows) {
      all.push_back(all.size());
      world.add(count);
    }
    const DslaOutcome actual = run(world, all), expected = world.run_ref();
    for (const std::size_t i : all) {
      EXPECT_TRUE(close(world.rows_of(actual, i), world.rows_of(expected, i), backend_tolerance(DType::kF32)))
          << rows[i] << " rows";
      EXPECT_TRUE(close(actual.states[i], expected.states[i], backend_tolerance(DType::kF32)))
          << rows[i] << " rows' state";
    }
  }
};

TEST_P(DslaOnEveryBackend, EqualsTheReference) {
  const std::vector<std::int64_t> rows = {1, 63, 64, 65, 1, 130, 2};
  for (const DslaShape& shape :
       {DslaShape{2, 2, 16, 16}, DslaShape{3, 1, 64, 64}, DslaShape{4, 1, 32, 48}, DslaShape{2, 1, 256, 64},
        DslaShape{4, 2, 32, 48, 1}, DslaShape{2, 1, 256, 64, 1}})
    expect_reference(shape, rows, {});
  expect_reference({8, 1, 128, 128}, {1, 17}, {});
  expect_reference({2, 1, 512, 16}, {1, 3}, {});
  expect_reference({8, 1, 128, 128, 1}, {1, 17}, {});
  expect_reference({2, 1, 512, 16, 1}, {1, 3}, {});
}

// States that keep all, that forget at once, and gates of which some do either from row to row.
TEST_P(DslaOnEveryBackend, EqualsTheReferenceWithExtremeGates) {
  for (const GateLogits& gates : {GateLogits{0.0f, {1e4f, -1e4f}}, GateLogits{0.0f, {-1e4f, 1e4f}},
                                  GateLogits{300.0f, {0.0f, 0.0f}}, GateLogits{0.0f, {40.0f, 40.0f}}})
    expect_reference({2, 1, 32, 32}, {1, 65, 100}, gates);
}

TEST_P(DslaOnEveryBackend, EqualsTheReferenceOfLongSequences) {
  if (!is_fast()) GTEST_SKIP() << "too long for kernels on the host";
  expect_reference({4, 1, 128, 128}, {1000}, {});
  expect_reference({2, 1, 64, 64}, {4097}, {});
  expect_reference({2, 1, 32, 32}, {32768}, {});
}

TEST_P(DslaOnEveryBackend, ASequenceIsTheSameAloneInCompanyAndTwice) {
  DslaWorld world({4, 2, 32, 32}, 13);
  for (const std::int64_t rows : {1, 70, 1, 33}) world.add(rows);
  const DslaOutcome together = run(world, {0, 1, 2, 3});
  EXPECT_TRUE(same_bits(run(world, {0, 1, 2, 3}).o, together.o));
  for (std::size_t i = 0; i < world.size(); ++i) {
    const DslaOutcome alone = run(world, {i});
    EXPECT_TRUE(same_bits(world.rows_of(alone, i), world.rows_of(together, i)));
    EXPECT_TRUE(same_bits(alone.states[i], together.states[i]));
  }
}

TEST_P(DslaOnEveryBackend, FeatureMapsEqualTheReference) {
  constexpr std::int64_t kRows = 37;
  for (const FeatureMap map : {FeatureMap::kSoftmax, FeatureMap::kSoftmaxPair}) {
    for (const auto& [heads, d] : {std::pair{3, 16}, std::pair{2, 65}, std::pair{1, 128}}) {
      const std::int64_t x_stride = std::int64_t{heads} * d + 3,
                         y_stride = std::int64_t{heads} * feature_width(map, d) + 5;
      const std::vector<float> x = random_floats(kRows * x_stride, 1, 4.0f);
      std::vector<float> actual = random_floats(kRows * y_stride, 2), expected = actual;
      feature_map_ref({map, x.data(), x_stride, expected.data(), y_stride, kRows, heads, d});
      Transfer to(*device, *backend);
      backend->feature_map({map, to.copy(x.data(), std::ssize(x)), x_stride,
                            to.copy_back(actual.data(), std::ssize(actual)), y_stride, kRows, heads, d});
      to.fetch();
      EXPECT_TRUE(close(actual, expected, backend_tolerance(DType::kF32))) << heads << " heads of " << d;
    }
  }
}

TEST_P(DslaOnEveryBackend, HeadSharesEqualTheReference) {
  constexpr std::int64_t kRows = 29, kStride = 3 * 20 + 2;
  const std::vector<float> x = random_floats(kRows * kStride, 1), share = random_floats(3, 2);
  std::vector<float> actual = random_floats(kRows * kStride, 3), expected = actual;
  head_share_ref({x.data(), kStride, share.data(), expected.data(), kStride, kRows, 3, 20});
  Transfer to(*device, *backend);
  backend->head_share({to.copy(x.data(), std::ssize(x)), kStride, to.copy(share.data(), 3),
                       to.copy_back(actual.data(), std::ssize(actual)), kStride, kRows, 3, 20});
  to.fetch();
  EXPECT_TRUE(close(actual, expected, backend_tolerance(DType::kF32)));
}

INSTANTIATE_TEST_SUITE_P(Backends, DslaOnEveryBackend, ::testing::ValuesIn(kBackendKinds), backend_name);

}  // namespace
}  // namespace dslad::kernels::testing
