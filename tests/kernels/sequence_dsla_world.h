// Packed sequences with their outputs' gradients, for the tests of training's DSLA.
//
// Rows of all tensors are wider than they need to be, with NaN between them, and a row of NaN that belongs to
// nobody precedes every segment: whatever a kernel reads or writes astray shows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fmt/core.h>
#include <random>
#include <span>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/dsla/sequence_dsla.h"
#include "tests/kernels/dsla_world.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels::testing {

// Rows with poison behind each.
struct PoisonedRows {
  static constexpr std::int64_t kGap = 3;
  std::int64_t width;
  std::vector<float> values{};

  [[nodiscard]] std::int64_t stride() const { return width + kGap; }
  [[nodiscard]] std::vector<float> rows(const Segment& segment) const {
    std::vector<float> packed;
    for (std::int64_t r = segment.first_row; r < segment.first_row + segment.rows; ++r) {
      packed.insert(packed.end(), values.begin() + r * stride(), values.begin() + r * stride() + width);
    }
    return packed;
  }
};

// What a forward and a backward call left behind; rows as the inputs'.
struct SequenceDslaOutcome {
  PoisonedRows o, dq, dk, dv, dz;
  std::vector<float> d_gate_bias, d_mix;
};

class SequenceDslaWorld {
 public:
  explicit SequenceDslaWorld(DslaShape shape, std::uint64_t seed = 1, GateLogits gates = {})
      : shape_(shape),
        gates_(gates),
        generator_(seed),
        q{std::int64_t{shape.n_heads} * shape.d_k},
        k{std::int64_t{shape.n_kv} * shape.d_k},
        v{std::int64_t{shape.n_kv} * shape.d_v},
        z{shape.n_kv * shape.channels()},
        d_o{std::int64_t{shape.n_heads} * shape.d_v} {
    append(gate_bias, z.width, 1, 0);
    std::uniform_real_distribution<float> history(0, 1);
    for (int head = 0; head < shape.n_heads; ++head) mix.push_back(history(generator_));
    if (shape.states == 1) return;  // any factor will do
    for (int head = 0; head < shape.n_heads; ++head) mix.push_back(1 - mix[static_cast<std::size_t>(head)]);
  }

  // `rows` random rows; returns the segment's index.
  std::int32_t add(std::int64_t rows, std::int32_t parent = -1) {
    add_row(std::numeric_limits<float>::quiet_NaN());
    add_behind(rows, parent);
    return static_cast<std::int32_t>(segments.size()) - 1;
  }
  // The same without a row of poison before it.
  void add_behind(std::int64_t rows, std::int32_t parent) {
    segments.push_back({rows_, rows, parent});
    for (std::int64_t r = 0; r < rows; ++r) add_row(1.0f);
  }

  // Every head's; without it each head has a random mixture of its own. REQUIRES: two states.
  void set_mix(float history, float recency) {
    std::fill_n(mix.begin(), shape_.n_heads, history);
    std::fill_n(mix.begin() + shape_.n_heads, shape_.n_heads, recency);
  }

  [[nodiscard]] SequenceDslaOutcome run(int threads) const { return run(threads, segments); }
  [[nodiscard]] SequenceDslaOutcome run(int threads, std::span<const Segment> of) const {
    ThreadPool pool(threads);
    return run_with(
        of, [&](const SequenceDslaArgs& args) { sequence_dsla_cpu(pool, args); },
        [&](const SequenceDslaBackwardArgs& args) { sequence_dsla_backward_cpu(pool, args); });
  }
  [[nodiscard]] SequenceDslaOutcome run_ref() const {
    return run_with(segments, sequence_dsla_ref, sequence_dsla_backward_ref);
  }

  [[nodiscard]] const DslaShape& shape() const { return shape_; }

 private:
  void append(std::vector<float>& to, std::int64_t count, float scale, float mean) {
    std::normal_distribution<float> normal;
    for (std::int64_t j = 0; j < count; ++j) to.push_back(mean + scale * normal(generator_));
  }

  void end_row(PoisonedRows& rows) {
    rows.values.resize(rows.values.size() + PoisonedRows::kGap, std::numeric_limits<float>::quiet_NaN());
  }

  void add_row(float scale) {
    for (PoisonedRows* rows : {&q, &k, &v, &d_o}) {
      append(rows->values, rows->width, scale, 0);
      end_row(*rows);
    }
    for (int i = 0; i < shape_.states; ++i)
      append(z.values, z.width / shape_.states, scale * gates_.deviation, gates_.mean[i]);
    end_row(z);
    ++rows_;
  }

  [[nodiscard]] PoisonedRows unwritten(std::int64_t width) const {
    PoisonedRows rows{width};
    rows.values = poisoned(rows_ * rows.stride());
    return rows;
  }

  template <class Forward, class Backward>
  [[nodiscard]] SequenceDslaOutcome run_with(std::span<const Segment> of, const Forward& forward,
                                             const Backward& backward) const {
    SequenceDslaOutcome out{unwritten(d_o.width),
                            unwritten(q.width),
                            unwritten(k.width),
                            unwritten(v.width),
                            unwritten(z.width),
                            std::vector<float>(gate_bias.size(), 0.25f),
                            std::vector<float>(mix.size(), -0.5f)};
    const SequenceDslaArgs args{shape_,         q.values.data(),
                                q.stride(),     k.values.data(),
                                k.stride(),     v.values.data(),
                                v.stride(),     z.values.data(),
                                z.stride(),     gate_bias.data(),
                                mix.data(),     out.o.values.data(),
                                out.o.stride(), of};
    forward(args);
    backward({args, d_o.values.data(), out.dq.values.data(), out.dq.stride(), out.dk.values.data(),
              out.dk.stride(), out.dv.values.data(), out.dv.stride(), out.dz.values.data(), out.dz.stride(),
              out.d_gate_bias.data(), out.d_mix.data()});
    return out;
  }

  DslaShape shape_;
  GateLogits gates_;
  std::mt19937_64 generator_;
  std::int64_t rows_ = 0;

 public:
  PoisonedRows q, k, v, z, d_o;
  std::vector<float> gate_bias, mix;
  std::vector<Segment> segments;
};

inline double largest(const std::vector<float>& values) {
  double size = 0;
  for (const float value : values) size = std::max(size, std::abs(double{value}));
  return size;
}

// Gradients by gates are small differences of sums of k * dk: errors are measured against those.
inline ::testing::AssertionResult close_differences(std::vector<float> actual, std::vector<float> expected,
                                                    double size) {
  actual.push_back(static_cast<float>(size));
  expected.push_back(static_cast<float>(size));
  return close(actual, expected, DType::kF32);
}

inline void expect_close(const SequenceDslaWorld& world, const SequenceDslaOutcome& actual,
                         const SequenceDslaOutcome& expected) {
  double gate_size = 0;
  for (const Segment& segment : world.segments) {
    SCOPED_TRACE(fmt::format("{} rows, parent {}", segment.rows, segment.parent));
    EXPECT_TRUE(close(actual.o.rows(segment), expected.o.rows(segment), DType::kF32)) << "o";
    EXPECT_TRUE(close(actual.dq.rows(segment), expected.dq.rows(segment), DType::kF32)) << "dq";
    EXPECT_TRUE(close(actual.dk.rows(segment), expected.dk.rows(segment), DType::kF32)) << "dk";
    EXPECT_TRUE(close(actual.dv.rows(segment), expected.dv.rows(segment), DType::kF32)) << "dv";
    const double size =
        largest(world.k.rows(segment)) * largest(expected.dk.rows(segment)) / double{kGateTemperature};
    EXPECT_TRUE(close_differences(actual.dz.rows(segment), expected.dz.rows(segment), size)) << "dz";
    gate_size = std::max(gate_size, size);
  }
  EXPECT_TRUE(close_differences(actual.d_gate_bias, expected.d_gate_bias, gate_size)) << "d_gate_bias";
  EXPECT_TRUE(close(actual.d_mix, expected.d_mix, DType::kF32)) << "d_mix";
}

}  // namespace dslad::kernels::testing
