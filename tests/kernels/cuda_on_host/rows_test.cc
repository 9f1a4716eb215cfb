// Operations on rows: each element by the plain reference, rows wider than they need to be, and nothing
// written between them.
#include <algorithm>
#include <gtest/gtest.h>
#include <vector>

#include "kernels/bias/cuda/bias.cuh"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cuda/embed.cuh"
#include "kernels/dsla/cuda/feature_map.cuh"
#include "kernels/dsla/cuda/head_share.cuh"
#include "kernels/gemm/cuda/gemm_rows.cuh"
#include "kernels/mlp/cuda/swiglu.cuh"
#include "kernels/move/cuda/move.cuh"
#include "kernels/norm/cuda/rms_norm.cuh"
#include "kernels/rope/cuda/rope.cuh"
#include "tests/kernels/cuda_on_host/on_host.h"

namespace dslad::kernels::cuda {
namespace {

using kernels::testing::close;
using kernels::testing::poisoned;
using kernels::testing::random_floats;
using kernels::testing::same_bits;
using testing::Executor;
using testing::in_any_order;
using testing::kFloatTolerance;

struct RowsShape {
  std::int64_t rows, width;
  std::int64_t gap;  // floats between rows: a multiple of 4 lets rows be read in 16 bytes
  [[nodiscard]] std::int64_t stride() const { return width + gap; }
};

class CudaRows : public ::testing::TestWithParam<RowsShape> {
 protected:
  const RowsShape shape = GetParam();
  // Gaps hold numbers, which must stay.
  const std::vector<float> x = random_floats(shape.rows * shape.stride(), 1, 3.0f);
  const std::vector<float> wide = random_floats(shape.rows * (2 * shape.width + shape.gap), 2, 3.0f);
  const std::vector<float> weight = random_floats(shape.width, 3);
};

TEST_P(CudaRows, BiasEqualsReference) {
  const auto args = [&](std::vector<float>& y) {
    return BiasArgs{y.data(), shape.stride(), weight.data(), shape.rows, shape.width};
  };
  std::vector<float> expected = x;
  bias_ref(args(expected));
  EXPECT_TRUE(same_bits(in_any_order([&](Executor& executor) {
                          std::vector<float> y = x;
                          executor.launch<AddBias>(args(y));
                          return y;
                        }),
                        expected));
}

TEST_P(CudaRows, SwiGluEqualsReference_InPlaceToo) {
  const std::int64_t stride = 2 * shape.width + shape.gap;
  const auto args = [&](const std::vector<float>& from, std::vector<float>& y, std::int64_t y_stride) {
    return SwiGluArgs{from.data(), stride, y.data(), y_stride, shape.rows, shape.width};
  };
  std::vector<float> expected = wide, apart = x, apart_expected = x;
  swiglu_ref(args(wide, expected, stride));
  swiglu_ref(args(wide, apart_expected, shape.stride()));
  EXPECT_TRUE(close(in_any_order([&](Executor& executor) {
                      std::vector<float> y = wide;
                      executor.launch<SwiGlu>(args(y, y, stride));
                      return y;
                    }),
                    expected, kFloatTolerance));
  Executor().launch<SwiGlu>(args(wide, apart, shape.stride()));
  EXPECT_TRUE(close(apart, apart_expected, kFloatTolerance));
}

TEST_P(CudaRows, RmsNormEqualsReference_InPlaceToo) {
  const auto args = [&](const std::vector<float>& from, std::vector<float>& y) {
    return RmsNormArgs{from.data(),    shape.stride(), weight.data(), y.data(),
                       shape.stride(), shape.rows,     shape.width,   1e-5f};
  };
  std::vector<float> expected = x, apart = x;
  rms_norm_ref(args(x, expected));
  EXPECT_TRUE(close(in_any_order([&](Executor& executor) {
                      std::vector<float> y = x;
                      rms_norm(executor, args(y, y));
                      return y;
                    }),
                    expected, kFloatTolerance));
  Executor executor;
  rms_norm(executor, args(x, apart));
  EXPECT_TRUE(close(apart, expected, kFloatTolerance));
}

TEST_P(CudaRows, EmbeddingsAreTheTablesRows) {
  const std::vector<bf16> table = kernels::testing::to_bf16(random_floats(7 * shape.width, 4));
  std::vector<std::int32_t> ids;
  std::vector<float> expected;
  for (std::int64_t row = 0; row < shape.rows; ++row) {
    ids.push_back(static_cast<std::int32_t>(5 * row % 7));
    const auto from = table.begin() + ids.back() * shape.width;
    std::transform(from, from + shape.width, std::back_inserter(expected),
                   [](bf16 value) { return to_float(value); });
  }
  EXPECT_TRUE(same_bits(in_any_order([&](Executor& executor) {
                          std::vector<float> out = poisoned(shape.rows * shape.width);
                          executor.launch<Embed>({ids.data(), nullptr, shape.rows, table.data(), DType::kBf16,
                                                  shape.width, out.data()});
                          return out;
                        }),
                        expected));
}

TEST_P(CudaRows, RowsOfAProductAreRoundedPaddedAndPlaced) {
  const std::int64_t padded = shape.rows + 2;
  std::vector<bf16> rounded(static_cast<std::size_t>(padded * shape.width), bf16{0xffff});
  Executor executor;
  std::vector<float> copied(rounded.size(), 1.0f);
  executor.launch<RoundRows<float>>(
      {x.data(), shape.stride(), shape.rows, padded, shape.width, copied.data()});
  executor.launch<RoundRows<bf16>>(
      {x.data(), shape.stride(), shape.rows, padded, shape.width, rounded.data()});
  std::vector<float> placed = x, expected = x;
  const std::vector<float> from = random_floats(shape.rows * shape.width, 6);
  executor.launch<PlaceRows>({from.data(), shape.rows, shape.width, placed.data(), shape.stride(), true});
  for (std::int64_t row = 0; row < padded; ++row) {
    for (std::int64_t i = 0; i < shape.width; ++i) {
      const auto at = static_cast<std::size_t>(row * shape.width + i);
      const auto source = static_cast<std::size_t>(row * shape.stride() + i);
      ASSERT_EQ(copied[at], row < shape.rows ? x[source] : 0.0f);
      ASSERT_EQ(rounded[at].bits, row < shape.rows ? kernels::to_bf16(x[source]).bits : 0);
      if (row < shape.rows) expected[source] += from[at];
    }
  }
  EXPECT_TRUE(same_bits(placed, expected));
}

TEST_P(CudaRows, RowsAreGathered) {
  std::vector<std::int64_t> rows = {shape.rows - 1, 0, shape.rows / 2, 0};
  const auto gather = [&](std::vector<float>& to) {
    return GatherArgs{x.data(), shape.width, rows, to.data()};
  };
  std::vector<float> expected = poisoned(4 * shape.width + 1);
  gather_cpu(gather(expected));
  EXPECT_TRUE(same_bits(in_any_order([&](Executor& executor) {
                          std::vector<float> to = poisoned(4 * shape.width + 1);
                          executor.launch<GatherRows>({gather(to)});
                          return to;
                        }),
                        expected));
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaRows,
                         ::testing::Values(RowsShape{1, 1, 0}, RowsShape{3, 10, 3}, RowsShape{9, 64, 4},
                                           RowsShape{5, 513, 7}, RowsShape{2, 1028, 0},
                                           RowsShape{2, 2047, 1}));

struct HeadsShape {
  std::int64_t rows;
  int heads, d;
};

class CudaHeads : public ::testing::TestWithParam<HeadsShape> {
 protected:
  const HeadsShape shape = GetParam();
  const std::int64_t stride = std::int64_t{shape.heads} * shape.d + 3;
  const std::vector<float> x = random_floats(shape.rows * stride, 1, 2.0f),
                           y = random_floats(shape.rows * stride, 2);
};

TEST_P(CudaHeads, RmsNormOfGroupsEqualsReference) {
  const std::vector<float> weight = random_floats(shape.d, 3);
  const auto args = [&](std::vector<float>& to) {
    return RmsNormArgs{to.data(),  stride,  weight.data(), to.data(),  stride,
                       shape.rows, shape.d, 1e-6f,         shape.heads};
  };
  std::vector<float> expected = x;
  rms_norm_ref(args(expected));
  EXPECT_TRUE(close(in_any_order([&](Executor& executor) {
                      std::vector<float> to = x;
                      rms_norm(executor, args(to));
                      return to;
                    }),
                    expected, kFloatTolerance));
}

TEST_P(CudaHeads, RopeEqualsReference_ThereAndBack) {
  std::vector<double> frequencies(static_cast<std::size_t>(shape.d) / 2, 0.3);
  const RopeTable table(frequencies, 40, 1.5);
  std::vector<std::int32_t> positions;
  for (std::int64_t row = 0; row < shape.rows; ++row)
    positions.push_back(static_cast<std::int32_t>(17 * row % 40));
  for (const bool inverse : {false, true}) {
    const auto args = [&](std::vector<float>& to) {
      return RopeArgs{to.data(), stride, positions.data(), shape.rows, shape.heads, &table, inverse};
    };
    std::vector<float> expected = x;
    rope_ref(args(expected));
    EXPECT_TRUE(close(in_any_order([&](Executor& executor) {
                        std::vector<float> to = x;
                        executor.launch<Rope>({args(to), table.cos(0), table.sin(0), table.half()});
                        return to;
                      }),
                      expected, kFloatTolerance));
  }
}

TEST_P(CudaHeads, HeadsAreNarrowedInPlace) {
  for (const std::int64_t kept : {std::int64_t{1}, std::int64_t{shape.d} / 2, std::int64_t{shape.d}}) {
    const auto args = [&](std::vector<float>& to) {
      return NarrowHeadsArgs{to.data(), stride, shape.rows, shape.heads, shape.d, kept, 2};
    };
    std::vector<float> expected = x;
    ThreadPool pool(1);
    narrow_heads_cpu(pool, args(expected));
    const std::vector<float> actual = in_any_order([&](Executor& executor) {
      std::vector<float> to = x;
      executor.launch<NarrowHeads>(args(to));
      return to;
    });
    for (std::int64_t row = 0; row < shape.rows; ++row) {
      for (std::int64_t i = 0; i < shape.heads * kept + 2; ++i) {
        const auto at = static_cast<std::size_t>(row * stride + i);
        ASSERT_EQ(actual[at], expected[at]) << "row " << row << ", " << i;
      }
    }
  }
}

TEST_P(CudaHeads, HeadShareEqualsReference) {
  const std::vector<float> share = random_floats(shape.heads, 3);
  const auto args = [&](std::vector<float>& to) {
    return HeadShareArgs{x.data(), stride, share.data(), to.data(), stride, shape.rows, shape.heads, shape.d};
  };
  std::vector<float> expected = y;
  head_share_ref(args(expected));
  EXPECT_TRUE(close(in_any_order([&](Executor& executor) {
                      std::vector<float> to = y;
                      executor.launch<AddHeadShare>(args(to));
                      return to;
                    }),
                    expected, kFloatTolerance));
}

TEST_P(CudaHeads, FeatureMapsEqualReference) {
  for (const FeatureMap map : {FeatureMap::kNone, FeatureMap::kSoftmax, FeatureMap::kSoftmaxPair}) {
    const std::int64_t y_stride = std::int64_t{shape.heads} * feature_width(map, shape.d) + 3;
    const auto args = [&](const std::vector<float>& from, std::vector<float>& to) {
      return FeatureMapArgs{map, from.data(), stride, to.data(), y_stride, shape.rows, shape.heads, shape.d};
    };
    const bool in_place = y_stride == stride;
    const std::vector<float> target = in_place ? x : random_floats(shape.rows * y_stride, 5);
    std::vector<float> expected = target;
    feature_map_ref(args(x, expected));
    EXPECT_TRUE(close(in_any_order([&](Executor& executor) {
                        std::vector<float> to = target;
                        executor.launch<MapFeatures>(args(in_place ? to : x, to));
                        return to;
                      }),
                      expected, kFloatTolerance));
  }
}

TEST_P(CudaHeads, FeatureMapsOfExtremes_AreFinite) {
  std::vector<float> large = x;
  for (float& value : large) value = std::copysign(1e4f, value);
  for (const FeatureMap map : {FeatureMap::kSoftmax, FeatureMap::kSoftmaxPair}) {
    const std::int64_t y_stride = std::int64_t{shape.heads} * feature_width(map, shape.d);
    std::vector<float> to(shape.rows * y_stride, NAN);
    Executor().launch<MapFeatures>(
        {map, large.data(), stride, to.data(), y_stride, shape.rows, shape.heads, shape.d});
    EXPECT_TRUE(std::ranges::all_of(to, [](float value) { return std::isfinite(value); }));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaHeads,
                         ::testing::Values(HeadsShape{1, 1, 2}, HeadsShape{3, 2, 10}, HeadsShape{20, 3, 64},
                                           HeadsShape{2, 5, 96}));

}  // namespace
}  // namespace dslad::kernels::cuda
