#include "kernels/attention/sequence_attention.h"

#include <cmath>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <vector>

#include "tests/kernels/sequence_attention_world.h"
#include "tests/sanitized.h"

namespace dslad::kernels {
namespace {

using testing::close;
using testing::expect_close;
using testing::expect_same_bits;
using testing::kTolerance;
using testing::same_bits;
using testing::SequenceOutcome;
using testing::SequenceShape;
using testing::SequenceWorld;

// A document with three questions behind it, and sequences of their own around them.
void add_families(SequenceWorld& world) {
  world.add(1);
  const std::int32_t document = world.add(205);
  world.add(17, document);
  world.add(70);
  world.add(1, document);
  world.add(130, document);
  world.add(64);
}

class SequenceAttentionShapes : public ::testing::TestWithParam<SequenceShape> {};

TEST_P(SequenceAttentionShapes, FamiliesMatchReference) {
  SequenceWorld world(GetParam());
  add_families(world);
  expect_close(world.run(2), world.run_ref(), kTolerance);
}

std::string shape_name(const ::testing::TestParamInfo<SequenceShape>& test) {
  const SequenceShape& s = test.param;
  return fmt::format("h{}kv{}d{}window{}sinks{}", s.n_heads, s.n_kv, s.d, s.window, s.sinks);
}

INSTANTIATE_TEST_SUITE_P(HeadSizesAndGroups, SequenceAttentionShapes,
                         ::testing::Values(SequenceShape{1, 1, 8}, SequenceShape{6, 2, 10},
                                           SequenceShape{5, 1, 22}, SequenceShape{9, 3, 64},
                                           SequenceShape{4, 4, 80}, SequenceShape{3, 1, 96},
                                           SequenceShape{2, 1, 128}, SequenceShape{1, 1, 254},
                                           SequenceShape{2, 1, 256}),
                         shape_name);

INSTANTIATE_TEST_SUITE_P(Windows, SequenceAttentionShapes,
                         ::testing::Values(SequenceShape{3, 1, 16, 2}, SequenceShape{3, 1, 16, 7},
                                           SequenceShape{3, 1, 16, 48}, SequenceShape{9, 3, 64, 100},
                                           SequenceShape{4, 2, 16, 210}, SequenceShape{4, 2, 16, 10000},
                                           SequenceShape{3, 1, 16, 7, 4}, SequenceShape{9, 3, 64, 64, 4},
                                           SequenceShape{3, 1, 16, 2, 16}, SequenceShape{4, 2, 16, 210, 1}),
                         shape_name);

TEST(SequenceAttention, EveryLengthAroundTheTilesMatchesReference) {
  std::uint64_t seed = 0;
  for (const auto& [window, sinks] : {std::pair{0, 0}, std::pair{20, 0}, std::pair{20, 5}}) {
    for (const std::int64_t rows : {1, 2, 15, 16, 17, 47, 48, 49, 63, 64, 65, 191, 192, 193, 257}) {
      SCOPED_TRACE(fmt::format("{} rows, window {}, sinks {}", rows, window, sinks));
      SequenceWorld world({2, 1, 12, window, sinks}, ++seed);
      world.add(rows, world.add(rows));
      expect_close(world.run(2), world.run_ref(), kTolerance);
    }
  }
}

TEST(SequenceAttention, LongSequenceMatchesReference) {
  SequenceWorld world({2, 1, 16});
  world.add(1500);
  expect_close(world.run(2), world.run_ref(), kTolerance);
}

TEST(SequenceAttention, SharpDistributionsMatchReference) {
  SequenceWorld world({4, 2, 16});
  world.add(100, world.add(150, -1, 3.0f), 3.0f);
  expect_close(world.run(2), world.run_ref(), kTolerance);
}

TEST(SequenceAttention, ExtremeScoresStayExact) {
  SequenceWorld world({4, 2, 16});
  world.add(90, -1, 3000.0f);
  const SequenceOutcome actual = world.run(2), expected = world.run_ref();
  EXPECT_TRUE(close(world.rows_of(actual.o, 0, world.o_stride(), world.query_width()),
                    world.rows_of(expected.o, 0, world.o_stride(), world.query_width()), kTolerance));
  for (const float x : world.query_side(actual, 0)) ASSERT_TRUE(std::isfinite(x));
  for (const float x : world.key_side(actual, 0)) ASSERT_TRUE(std::isfinite(x));
}

TEST(SequenceAttention, ResultsDoNotDependOnThreads) {
  SequenceWorld world({9, 3, 16});
  add_families(world);
  world.add(700);
  const SequenceOutcome one = world.run(1);
  expect_same_bits(world.run(2), one);
  expect_same_bits(world.run(3), one);
}

TEST(SequenceAttention, ResultsDoNotDependOnOtherFamilies) {
  SequenceWorld world({6, 2, 32});
  const std::int32_t document = world.add(300);
  const std::int32_t question = world.add(40, document);
  add_families(world);
  const SequenceOutcome packed = world.run(2);
  ThreadPool pool(2);
  const SequenceOutcome alone = world.run(pool, {world.segments().data(), 2});
  for (const std::int32_t segment : {document, question}) {
    EXPECT_TRUE(same_bits(world.query_side(packed, segment), world.query_side(alone, segment)));
    EXPECT_TRUE(same_bits(world.key_side(packed, segment), world.key_side(alone, segment)));
  }
}

TEST(SequenceAttention, NothingPassesBetweenSegments) {
  SequenceWorld world({6, 2, 32});
  const std::int32_t alone = world.add(100);
  const std::int32_t document = world.add(200);
  const std::int32_t first = world.add(30, document);
  const std::int32_t second = world.add(50, document);
  const SequenceOutcome before = world.run(2);
  const Segment& changed = world.segments()[static_cast<std::size_t>(first)];
  for (std::int64_t r = 0; r < changed.rows; ++r) world.change(changed.first_row + r);
  const SequenceOutcome after = world.run(2);
  for (const std::int32_t segment : {alone, document, second}) {
    EXPECT_TRUE(same_bits(world.query_side(after, segment), world.query_side(before, segment))) << segment;
  }
  for (const std::int32_t segment : {alone, second}) {
    EXPECT_TRUE(same_bits(world.key_side(after, segment), world.key_side(before, segment))) << segment;
  }
  EXPECT_FALSE(same_bits(world.key_side(after, document), world.key_side(before, document)))
      << "a document learns from its questions";
}

TEST(SequenceAttention, NothingPassesBackwardsInTime) {
  SequenceWorld world({3, 1, 16});
  world.add(333);
  const SequenceOutcome before = world.run(1);
  const std::int64_t first_row = world.segments()[0].first_row;
  for (std::int64_t t = 200; t < 333; ++t) world.change(first_row + t);
  const SequenceOutcome after = world.run(1);
  const auto earlier = [&](const std::vector<float>& o) {
    return std::span(o).subspan(first_row * world.o_stride(), 200 * world.o_stride());
  };
  EXPECT_TRUE(same_bits(earlier(after.o), earlier(before.o)));
}

TEST(SequenceAttention, AKeyThatIsNotANumberShowsWhereItIsSeen) {
  SequenceWorld world({2, 2, 16});
  world.add(130);
  const std::int64_t first_row = world.segments()[0].first_row;
  constexpr std::int64_t kBad = 70;
  world.k()[(first_row + kBad) * world.kv_stride() + 3] = std::numeric_limits<float>::quiet_NaN();
  for (const SequenceOutcome& out : {world.run(2), world.run_ref()}) {
    for (std::int64_t t = 0; t < 130; ++t) {
      ASSERT_EQ(std::isnan(out.o[(first_row + t) * world.o_stride()]), t >= kBad) << t;
      ASSERT_EQ(std::isnan(out.lse[(first_row + t) * 2]), t >= kBad) << t;
      ASSERT_FALSE(std::isnan(out.o[(first_row + t) * world.o_stride() + 16])) << "the other head";
    }
  }
}

// The gradients of queries and keys vanish, so that there is nothing to measure their rounding against.
TEST(SequenceAttention, AWindowOfOneReturnsTheValues) {
  SequenceWorld world({2, 2, 16, 1});
  world.add(70, world.add(100));
  const SequenceOutcome out = world.run(2);
  for (const std::int32_t segment : {0, 1}) {
    const auto rows = [&](const std::vector<float>& values, std::int64_t stride) {
      return world.rows_of(values, segment, stride, 32);
    };
    EXPECT_TRUE(same_bits(rows(out.o, world.o_stride()), rows(world.v(), world.kv_stride())));
    EXPECT_TRUE(same_bits(rows(out.dv, world.dkv_stride()), rows(world.d_o(), world.o_stride())));
    for (const float x : rows(out.dq, world.dq_stride())) ASSERT_NEAR(x, 0, 1e-5);
    for (const float x : rows(out.dk, world.dkv_stride())) ASSERT_NEAR(x, 0, 1e-5);
  }
}

TEST(SequenceAttention, EntropyOfEqualKeysIsTheLogarithmOfTheirNumber) {
  SequenceWorld world({2, 1, 16, 150});
  world.add(60, world.add(200));
  std::ranges::fill(world.k(), 0.25f);
  const SequenceOutcome out = world.run(2);
  for (std::int64_t t = 0; t < 260; ++t) {
    const Segment& segment = world.segments()[t < 200 ? 0 : 1];
    const std::int64_t row = segment.first_row + (t < 200 ? t : t - 200);
    EXPECT_NEAR(out.entropy[row * 2], std::log(static_cast<double>(std::min<std::int64_t>(t + 1, 150))),
                1e-5);
  }
}

TEST(SequenceAttention, EntropyMayBeUnwanted) {
  SequenceWorld world({2, 1, 16});
  world.add(80);
  const SequenceOutcome wanted = world.run(1);
  std::vector<float> o = testing::poisoned(static_cast<std::int64_t>(wanted.o.size()));
  std::vector<float> lse = testing::poisoned(static_cast<std::int64_t>(wanted.lse.size()));
  ThreadPool pool(1);
  const SequenceAttentionArgs args{2,
                                   1,
                                   16,
                                   world.scale(),
                                   0,
                                   world.q().data(),
                                   world.q_stride(),
                                   world.k().data(),
                                   world.v().data(),
                                   world.kv_stride(),
                                   o.data(),
                                   world.o_stride(),
                                   lse.data(),
                                   nullptr,
                                   world.segments()};
  sequence_attention_cpu(pool, args);
  EXPECT_TRUE(same_bits(o, wanted.o));
  EXPECT_TRUE(same_bits(lse, wanted.lse));
  sequence_attention_ref(args);
  EXPECT_TRUE(close(world.rows_of(o, 0, world.o_stride(), 32),
                    world.rows_of(wanted.o, 0, world.o_stride(), 32), kTolerance));
}

TEST(SequenceAttention, AChildContinuesItsParent) {
  SequenceWorld world({4, 2, 32});
  const std::int32_t whole = world.add(190);
  const std::int32_t head = world.add(120);
  const std::int32_t tail = world.add(70, head);
  const auto copy = [&](std::vector<float>& values, std::int64_t stride) {
    const std::vector<float> rows = world.rows_of(values, whole, stride, stride);
    for (const std::int32_t part : {head, tail}) {
      const Segment& segment = world.segments()[static_cast<std::size_t>(part)];
      std::copy_n(rows.begin() + (part == tail ? 120 * stride : 0), segment.rows * stride,
                  values.begin() + segment.first_row * stride);
    }
  };
  copy(world.q(), world.q_stride());
  copy(world.k(), world.kv_stride());
  copy(world.v(), world.kv_stride());
  const SequenceOutcome out = world.run(2);
  const auto rows = [&](std::int32_t segment) {
    return world.rows_of(out.o, segment, world.o_stride(), world.query_width());
  };
  std::vector<float> joined = rows(head);
  const std::vector<float> end = rows(tail);
  joined.insert(joined.end(), end.begin(), end.end());
  EXPECT_TRUE(close(joined, rows(whole), kTolerance));
}

// The definition, in double from double inputs and by explicit lists of visible rows: what the reference and
// its gradient are held to.
class PlainAttention {
 public:
  explicit PlainAttention(SequenceWorld& world)
      : q(world.q().begin(), world.q().end()),
        k(world.k().begin(), world.k().end()),
        v(world.v().begin(), world.v().end()),
        world_(world) {}

  std::vector<double> q, k, v;

  struct Row {
    std::vector<double> o;
    double lse = 0, entropy = 0;
  };
  [[nodiscard]] Row row(const Segment& segment, std::int64_t t, int head) const {
    const SequenceShape& s = world_.shape();
    const int kv_head = head / (s.n_heads / s.n_kv);
    std::vector<double> weights;
    const std::vector<std::int64_t> keys = visible(segment, t);
    Row result{std::vector<double>(static_cast<std::size_t>(s.d))};
    double sum = 0;
    for (const std::int64_t u : keys) {
      double logit = 0;
      for (int j = 0; j < s.d; ++j) {
        logit += q[(segment.first_row + t) * world_.q_stride() + head * s.d + j] *
                 k[u * world_.kv_stride() + kv_head * s.d + j];
      }
      sum += weights.emplace_back(std::exp(logit * double{world_.scale()}));
    }
    result.lse = std::log(sum);
    for (std::size_t u = 0; u < keys.size(); ++u) {
      const double p = weights[u] / sum;
      result.entropy -= p * std::log(p);
      for (int j = 0; j < s.d; ++j) {
        result.o[j] += p * v[keys[u] * world_.kv_stride() + kv_head * s.d + j];
      }
    }
    return result;
  }

  // The sum of o d_o, whose gradient the backward pass gives.
  [[nodiscard]] double loss() const {
    double sum = 0;
    for_each_row([&](std::int64_t row, int head, const Row& result) {
      for (int j = 0; j < world_.shape().d; ++j) {
        sum += result.o[j] * double{world_.d_o()[row * world_.o_stride() + head * world_.shape().d + j]};
      }
    });
    return sum;
  }

  template <class Body>
  void for_each_row(const Body& body) const {
    for (const Segment& segment : world_.segments()) {
      for (std::int64_t t = 0; t < segment.rows; ++t) {
        for (int head = 0; head < world_.shape().n_heads; ++head) {
          body(segment.first_row + t, head, row(segment, t, head));
        }
      }
    }
  }

 private:
  [[nodiscard]] std::vector<std::int64_t> visible(const Segment& segment, std::int64_t t) const {
    std::vector<std::int64_t> rows;
    if (segment.parent >= 0) {
      const Segment& parent = world_.segments()[static_cast<std::size_t>(segment.parent)];
      for (std::int64_t u = 0; u < parent.rows; ++u) rows.push_back(parent.first_row + u);
    }
    for (std::int64_t u = 0; u <= t; ++u) rows.push_back(segment.first_row + u);
    const auto window = static_cast<std::size_t>(world_.shape().window);
    if (window > 0 && rows.size() > window) rows.erase(rows.begin(), rows.end() - window);
    return rows;
  }

  SequenceWorld& world_;
};

class SequenceAttentionRef : public ::testing::TestWithParam<std::int64_t> {
 protected:
  SequenceAttentionRef() : world({4, 2, 8, GetParam()}, 3) {
    const std::int32_t document = world.add(6);
    world.add(3, document);
    world.add(5);
    world.add(2, document);
  }
  SequenceWorld world;
};

TEST_P(SequenceAttentionRef, EqualsTheDefinition) {
  const SequenceOutcome out = world.run_ref();
  PlainAttention(world).for_each_row([&](std::int64_t row, int head, const PlainAttention::Row& expected) {
    EXPECT_NEAR(out.lse[row * 4 + head], expected.lse, 1e-6);
    EXPECT_NEAR(out.entropy[row * 4 + head], expected.entropy, 1e-6);
    for (int j = 0; j < 8; ++j) {
      EXPECT_NEAR(out.o[row * world.o_stride() + head * 8 + j], expected.o[j], 1e-6);
    }
  });
}

// Differences of the definition in double against the reference's gradient, which is rounded to float32.
void expect_gradient(const SequenceWorld& world, PlainAttention& plain, std::vector<double>& input,
                     std::int64_t input_stride, const std::vector<float>& gradient,
                     std::int64_t gradient_stride, std::int64_t width) {
  constexpr double kStep = 1e-5;
  for (const Segment& segment : world.segments()) {
    for (std::int64_t row = segment.first_row; row < segment.first_row + segment.rows; ++row) {
      for (std::int64_t j = 0; j < width; ++j) {
        double& x = input[row * input_stride + j];
        const double middle = x;
        x = middle + kStep;
        const double above = plain.loss();
        x = middle - kStep;
        const double below = plain.loss();
        x = middle;
        const double actual = gradient[row * gradient_stride + j];
        ASSERT_NEAR(actual, (above - below) / (2 * kStep), 1e-7 + 1e-6 * std::abs(actual))
            << "row " << row << ", element " << j;
      }
    }
  }
}

TEST_P(SequenceAttentionRef, GradientEqualsFiniteDifferences) {
  if (dslad::testing::kSanitized) GTEST_SKIP() << "skipped: it is about numbers alone";
  const SequenceOutcome out = world.run_ref();
  PlainAttention plain(world);
  expect_gradient(world, plain, plain.q, world.q_stride(), out.dq, world.dq_stride(), world.query_width());
  expect_gradient(world, plain, plain.k, world.kv_stride(), out.dk, world.dkv_stride(), world.key_width());
  expect_gradient(world, plain, plain.v, world.kv_stride(), out.dv, world.dkv_stride(), world.key_width());
}

INSTANTIATE_TEST_SUITE_P(Windows, SequenceAttentionRef, ::testing::Values(0, 1, 4),
                         [](const auto& test) { return fmt::format("window{}", test.param); });

}  // namespace
}  // namespace dslad::kernels
