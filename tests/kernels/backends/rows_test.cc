// Products and operations on rows, and what moves bytes, on every backend.
#include <cmath>
#include <fmt/format.h>

#include "kernels/cpu/thread_pool.h"
#include "kernels/gemm/packed_matrix.h"
#include "tests/kernels/backends/backend_kinds.h"
#include "tests/kernels/backends/transfer.h"

namespace dslad::kernels::testing {
namespace {

struct RowsShape {
  std::int64_t rows, width, gap;  // floats; those of the gaps must stay
  [[nodiscard]] std::int64_t stride() const { return width + gap; }
};

constexpr std::array kRowsShapes = {RowsShape{1, 8, 0}, RowsShape{3, 257, 3}, RowsShape{130, 64, 4},
                                    RowsShape{65, 1000, 1}};

class RowsOnEveryBackend : public OnEveryBackend {
 protected:
  static constexpr double kTolerance = backend_tolerance(DType::kF32);

  // check(shape) of every shape.
  template <class Check>
  static void each_shape(const Check& check) {
    for (const RowsShape& shape : kRowsShapes) {
      SCOPED_TRACE(fmt::format("{} rows of {} and {}", shape.rows, shape.width, shape.gap));
      check(shape);
    }
  }
};

TEST_P(RowsOnEveryBackend, RmsNormAndBiasEqualTheReference) {
  each_shape([&](const RowsShape& shape) {
    const std::vector<float> x = random_floats(shape.rows * shape.stride(), 1, 3.0f),
                             weight = random_floats(shape.width, 2);
    std::vector<float> expected = x, actual = x;
    const auto norm = [&](const float* from, const float* by, float* y) {
      return RmsNormArgs{from, shape.stride(), by, y, shape.stride(), shape.rows, shape.width, 1e-5f};
    };
    rms_norm_ref(norm(expected.data(), weight.data(), expected.data()));
    bias_ref({expected.data(), shape.stride(), weight.data(), shape.rows, shape.width});
    Transfer to(*device, *backend);
    const float* const by = to.copy(weight.data(), shape.width);
    float* const y = to.copy_back(actual.data(), std::ssize(actual));
    backend->rms_norm(norm(y, by, y));
    backend->bias({y, shape.stride(), by, shape.rows, shape.width});
    to.fetch();
    EXPECT_TRUE(close(actual, expected, kTolerance));
  });
}

TEST_P(RowsOnEveryBackend, RmsNormOfGroupsEqualsTheReference) {
  constexpr std::int64_t kRows = 9, kGroups = 5, kWidth = 48, kStride = kGroups * kWidth + 7;
  const std::vector<float> weight = random_floats(kWidth, 2);
  std::vector<float> expected = random_floats(kRows * kStride, 1), actual = expected;
  const auto norm = [&](const float* by, float* y) {
    return RmsNormArgs{y, kStride, by, y, kStride, kRows, kWidth, 1e-6f, kGroups};
  };
  rms_norm_ref(norm(weight.data(), expected.data()));
  Transfer to(*device, *backend);
  backend->rms_norm(norm(to.copy(weight.data(), kWidth), to.copy_back(actual.data(), std::ssize(actual))));
  to.fetch();
  EXPECT_TRUE(close(actual, expected, kTolerance));
}

TEST_P(RowsOnEveryBackend, SwiGluEqualsTheReference) {
  each_shape([&](const RowsShape& shape) {
    const std::int64_t stride = 2 * shape.width + shape.gap;
    std::vector<float> expected = random_floats(shape.rows * stride, 3, 3.0f), actual = expected;
    swiglu_ref({expected.data(), stride, expected.data(), stride, shape.rows, shape.width});
    Transfer to(*device, *backend);
    float* const y = to.copy_back(actual.data(), std::ssize(actual));
    backend->swiglu({y, stride, y, stride, shape.rows, shape.width});
    to.fetch();
    EXPECT_TRUE(close(actual, expected, kTolerance));
  });
}

TEST_P(RowsOnEveryBackend, RopeEqualsTheReference) {
  constexpr std::int64_t kRows = 23, kPositions = 5000;
  for (const auto& [heads, half] : {std::pair{3, 8}, std::pair{2, 33}, std::pair{1, 64}}) {
    const std::int64_t stride = std::int64_t{heads} * 2 * half + 5;
    std::vector<double> frequencies(static_cast<std::size_t>(half));
    for (int j = 0; j < half; ++j)
      frequencies[static_cast<std::size_t>(j)] = std::pow(1e4, -j / double(half));
    const std::vector<float> table = RopeTable::values(frequencies, kPositions);
    std::vector<std::int32_t> positions(kRows);
    for (std::int32_t row = 0; row < kRows; ++row)
      positions[static_cast<std::size_t>(row)] = row * 211 % kPositions;
    std::vector<float> expected = random_floats(kRows * stride, 5), actual = expected;
    const RopeTable here(table.data(), half, kPositions);
    rope_ref({expected.data(), stride, positions.data(), kRows, heads, &here});
    Transfer to(*device, *backend);
    const RopeTable there(to.copy(table.data(), std::ssize(table)), half, kPositions);
    backend->rope(
        {to.copy_back(actual.data(), std::ssize(actual)), stride, positions.data(), kRows, heads, &there});
    to.fetch();
    EXPECT_TRUE(close(actual, expected, kTolerance)) << heads << " heads of " << 2 * half;
  }
}

// y = x W^T for some rows of a step and y += x W^T, in every format that the device holds.
TEST_P(RowsOnEveryBackend, ProductsEqualTheReference) {
  const std::vector<RowBlock> blocks = {{1, 3, RowKind::kDecode},
                                        {5, 70, RowKind::kPrefill},
                                        {75, 2, RowKind::kPrefill},
                                        {80, 66, RowKind::kDecode}};
  constexpr std::int64_t kRows = 150;
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kBf16}) {
    if (!device->holds(format)) continue;
    for (const auto& [n, k] : {std::pair<std::int64_t, std::int64_t>{64, 64}, {33, 200}, {300, 96}}) {
      const std::int64_t ldx = k + 8, ldy = n + 12;
      const std::vector<float> w = random_floats(n * k, 1, 0.1f), x = random_floats(kRows * ldx, 2);
      PackedMatrix here(n, k, format);
      here.pack_rows(0, n, w.data());
      const auto there = device->make_matrix(n, k, format);
      ASSERT_NE(there, nullptr);
      there->pack_rows(0, n, w.data());
      for (const bool accumulate : {false, true}) {
        SCOPED_TRACE(fmt::format("{} x {}, {}, accumulate {}", n, k, to_string(format), accumulate));
        std::vector<float> expected = random_floats(kRows * ldy, 3), actual = expected;
        gemm_ref({x.data(), ldx, &here, expected.data(), ldy, accumulate, blocks});
        Transfer to(*device, *backend);
        backend->gemm({to.copy(x.data(), std::ssize(x)), ldx, there.get(),
                       to.copy_back(actual.data(), std::ssize(actual)), ldy, accumulate, blocks});
        to.fetch();
        EXPECT_TRUE(close(actual, expected, backend_tolerance(compute_type(format))));
      }
    }
  }
}

TEST_P(RowsOnEveryBackend, EmbeddingsAreTheTablesRows) {
  constexpr std::int64_t kVocabulary = 50, kWidth = 72;
  const std::vector<float> table = random_floats(kVocabulary * kWidth, 1);
  const auto there = device->make_matrix(kVocabulary, kWidth, WeightFormat::kF32);
  there->pack_rows(0, kVocabulary, table.data());
  std::vector<std::int32_t> ids;
  std::vector<float> expected, actual;
  for (std::int32_t i = 0; i < 40; ++i) {
    ids.push_back(i * 37 % kVocabulary);
    const auto row = table.begin() + ids.back() * kWidth;
    expected.insert(expected.end(), row, row + kWidth);
  }
  actual = poisoned(std::ssize(expected));
  Transfer to(*device, *backend);
  backend->embed(ids, *there, to.copy_back(actual.data(), std::ssize(actual)));
  to.fetch();
  EXPECT_TRUE(same_bits(actual, expected));
}

TEST_P(RowsOnEveryBackend, RowsAndHeadsAreMoved) {
  constexpr std::int64_t kRows = 12, kHeads = 5, kChannels = 24, kKept = 16, kTail = 10;
  constexpr std::int64_t kStride = kHeads * kChannels + kTail + 3;
  const std::vector<float> x = random_floats(kRows * kStride, 1);
  std::vector<float> narrow = x, narrowed = x;
  const NarrowHeadsArgs heads{nullptr, kStride, kRows, kHeads, kChannels, kKept, kTail};
  ThreadPool pool(1);
  NarrowHeadsArgs here = heads, there = heads;
  here.x = narrow.data();
  narrow_heads_cpu(pool, here);
  Transfer to(*device, *backend);
  there.x = to.copy_back(narrowed.data(), std::ssize(narrowed));
  backend->narrow_heads(there);
  std::vector<std::int64_t> rows = {11, 0, 5, 5};
  std::vector<float> gathered = poisoned(4 * kStride), expected;
  for (const std::int64_t row : rows)
    expected.insert(expected.end(), x.begin() + row * kStride, x.begin() + (row + 1) * kStride);
  backend->gather(
      {to.copy(x.data(), std::ssize(x)), kStride, rows, to.copy_back(gathered.data(), std::ssize(gathered))});
  to.fetch();
  constexpr std::int64_t kMeant = kHeads * kKept + kTail;  // what lies behind is left over
  for (std::int64_t row = 0; row < kRows; ++row) {
    const auto at = static_cast<std::size_t>(row * kStride);
    EXPECT_TRUE(same_bits(std::span(narrowed).subspan(at, kMeant), std::span(narrow).subspan(at, kMeant)));
  }
  EXPECT_TRUE(same_bits(gathered, expected));
}

TEST_P(RowsOnEveryBackend, TokensAndTheirProbabilitiesAreTheReferences) {
  constexpr std::int64_t kVocabulary = 1200;
  const std::vector<float> logits = random_floats(4 * kVocabulary, 9, 2.0f);
  Transfer to(*device, *backend);
  const float* const there = to.copy(logits.data(), std::ssize(logits));
  std::vector<SampleArgs> rows;
  std::vector<ChosenToken> chosen;
  std::vector<std::int32_t> expected;
  std::vector<double> nats_expected;
  for (std::size_t i = 0; i < 12; ++i) {
    const std::size_t row = i % 4 * kVocabulary;
    const std::size_t heat = i / 4;
    SampleArgs args{std::span(logits).subspan(row, kVocabulary), 0.3f * static_cast<float>(heat),
                    i % 2 == 0 ? 1.0f : 0.8f, 17, i};
    expected.push_back(sample_ref(args));
    nats_expected.push_back(log_probability_ref(args.logits, expected.back()));
    args.logits = {there + row, static_cast<std::size_t>(kVocabulary)};
    rows.push_back(args);
    chosen.push_back({args.logits, expected.back()});
  }
  std::vector<std::int32_t> tokens(rows.size());
  std::vector<double> nats(rows.size());
  backend->sample(rows, tokens);
  backend->log_probabilities(chosen, nats);
  EXPECT_EQ(tokens, expected);
  for (std::size_t i = 0; i < nats.size(); ++i) EXPECT_NEAR(nats[i], nats_expected[i], 1e-4);
}

// Two draws under way, of which the second one's rows begin with what the first has drawn.
TEST_P(RowsOnEveryBackend, WhatIsDrawnIsEmbeddedBeforeAnyoneReadsIt) {
  constexpr std::int64_t kVocabulary = 700, kWidth = 24;
  std::vector<float> logits = random_floats(6 * kVocabulary, 9, 2.0f), table(kVocabulary * kWidth),
                     rows = poisoned(6 * kWidth);
  for (std::int64_t i = 0; i < kVocabulary; ++i)
    std::fill_n(table.begin() + i * kWidth, kWidth, static_cast<float>(i));
  logits[2 * kVocabulary + 5] = std::numeric_limits<float>::quiet_NaN();
  const auto matrix = device->make_matrix(kVocabulary, kWidth, WeightFormat::kF32);
  matrix->pack_rows(0, kVocabulary, table.data());
  Transfer to(*device, *backend);
  const float* const there = to.copy(logits.data(), std::ssize(logits));
  std::vector<std::vector<SampleArgs>> draws(2);
  std::vector<std::vector<std::int32_t>> expected(2), tokens(2);
  for (std::size_t i = 0; i < 6; ++i) {
    SampleArgs args{std::span(logits).subspan(i * kVocabulary, kVocabulary), 0.5f, 1.0f, 3, i};
    expected[i / 3].push_back(sample_ref(args));
    args.logits = {there + i * kVocabulary, static_cast<std::size_t>(kVocabulary)};
    draws[i / 3].push_back(args);
  }
  const std::vector<std::int32_t> ids = {drawn_id(1), 7, drawn_id(0), drawn_id(1), drawn_id(2), 699};
  backend->draw(draws[0]);
  backend->embed(ids, *matrix, to.copy_back(rows.data(), std::ssize(rows)));
  backend->draw(draws[1]);
  for (std::size_t i = 0; i < 2; ++i) {
    tokens[i].resize(3);
    backend->drawn(tokens[i]);
    EXPECT_EQ(tokens[i], expected[i]);
  }
  to.fetch();
  const auto token_of = [&](std::size_t row) { return static_cast<std::int32_t>(rows[row * kWidth]); };
  EXPECT_EQ(expected[0][2], kNoToken);
  for (const std::size_t row : {std::size_t{0}, std::size_t{3}}) EXPECT_EQ(token_of(row), expected[0][1]);
  EXPECT_EQ(token_of(1), 7);
  EXPECT_EQ(token_of(2), expected[0][0]);
  EXPECT_TRUE(std::isfinite(rows[4 * kWidth])) << "some token's, as nobody's";
  EXPECT_EQ(token_of(5), 699);
}

TEST_P(RowsOnEveryBackend, BytesAreCopiedFilledAndRead) {
  std::vector<float> values = random_floats(1000, 4), back = poisoned(1000);
  const auto from = device->allocate(4000), to = device->allocate(4000);
  backend->read(back.data(), to.get(), 4000);
  EXPECT_TRUE(same_bits(back, std::vector<float>(1000, 0.0f))) << "memory is zero at first";
  device->write(from.get(), values.data(), 4000);
  backend->copy(to.get(), from.get(), 4000);
  backend->fill(to.get() + 400, std::byte{0}, 40);
  std::fill_n(values.begin() + 100, 10, 0.0f);
  backend->read(back.data(), to.get(), 4000);
  EXPECT_TRUE(same_bits(back, values));
}

INSTANTIATE_TEST_SUITE_P(Backends, RowsOnEveryBackend, ::testing::ValuesIn(kBackendKinds), backend_name);

}  // namespace
}  // namespace dslad::kernels::testing
