// Packed sequences with their outputs' gradients, for the tests of training's delta rule.
//
// Rows are wider than they need to be, with NaN between them, and a row of NaN that belongs to nobody
// precedes every segment: whatever a kernel reads or writes astray shows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <fmt/core.h>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/delta/sequence_delta_rule.h"
#include "tests/kernels/delta_world.h"
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/sequence_dsla_world.h"

namespace dslad::kernels::testing {

struct SequenceDeltaOutcome {
  PoisonedRows o, dq, dk, dv, dz;
  std::vector<float> d_bias;
};

class SequenceDeltaWorld {
 public:
  explicit SequenceDeltaWorld(DslaShape shape, std::uint64_t seed = 1, DeltaLogits logits = {})
      : shape_(shape),
        logits_(logits),
        generator_(seed),
        q{std::int64_t{shape.n_heads} * shape.d_k},
        k{std::int64_t{shape.n_kv} * shape.d_k},
        v{std::int64_t{shape.n_kv} * shape.d_v},
        z{std::int64_t{2} * shape.n_kv},
        d_o{std::int64_t{shape.n_heads} * shape.d_v} {
    append(bias, z.width, 1, 0);
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

  // The key of every KV head of a row.
  void set_key(std::int64_t row, float value) {
    std::fill_n(k.values.begin() + row * k.stride(), k.width, value);
  }

  [[nodiscard]] SequenceDeltaOutcome run(int threads) const { return run(threads, segments); }
  [[nodiscard]] SequenceDeltaOutcome run(int threads, std::span<const Segment> of) const {
    ThreadPool pool(threads);
    return run_with(
        of, [&](const SequenceDeltaRuleArgs& args) { sequence_delta_rule_cpu(pool, args); },
        [&](const SequenceDeltaRuleBackwardArgs& args) { sequence_delta_rule_backward_cpu(pool, args); });
  }
  [[nodiscard]] SequenceDeltaOutcome run_ref() const {
    return run_with(segments, sequence_delta_rule_ref, sequence_delta_rule_backward_ref);
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
    append(z.values, shape_.n_kv, scale * logits_.gate_deviation, logits_.gate);
    append(z.values, shape_.n_kv, scale * logits_.beta_deviation, logits_.beta);
    end_row(z);
    ++rows_;
  }

  [[nodiscard]] PoisonedRows unwritten(std::int64_t width) const {
    PoisonedRows rows{width};
    rows.values = poisoned(rows_ * rows.stride());
    return rows;
  }

  template <class Forward, class Backward>
  [[nodiscard]] SequenceDeltaOutcome run_with(std::span<const Segment> of, const Forward& forward,
                                              const Backward& backward) const {
    SequenceDeltaOutcome out{unwritten(d_o.width), unwritten(q.width),
                             unwritten(k.width),   unwritten(v.width),
                             unwritten(z.width),   std::vector<float>(bias.size(), 0.25f)};
    const SequenceDeltaRuleArgs args{shape_,     q.values.data(), q.stride(),          k.values.data(),
                                     k.stride(), v.values.data(), v.stride(),          z.values.data(),
                                     z.stride(), bias.data(),     out.o.values.data(), out.o.stride(),
                                     of};
    forward(args);
    backward({args, d_o.values.data(), out.dq.values.data(), out.dq.stride(), out.dk.values.data(),
              out.dk.stride(), out.dv.values.data(), out.dv.stride(), out.dz.values.data(), out.dz.stride(),
              out.d_bias.data()});
    return out;
  }

  DslaShape shape_;
  DeltaLogits logits_;
  std::mt19937_64 generator_;
  std::int64_t rows_ = 0;

 public:
  PoisonedRows q, k, v, z, d_o;
  std::vector<float> bias;  // [2, n_kv]
  std::vector<Segment> segments;
};

inline void expect_close(const SequenceDeltaWorld& world, const SequenceDeltaOutcome& actual,
                         const SequenceDeltaOutcome& expected) {
  double logit_size = 0;
  for (const Segment& segment : world.segments) {
    SCOPED_TRACE(fmt::format("{} rows, parent {}", segment.rows, segment.parent));
    EXPECT_TRUE(close(actual.o.rows(segment), expected.o.rows(segment), DType::kF32)) << "o";
    EXPECT_TRUE(close(actual.dq.rows(segment), expected.dq.rows(segment), DType::kF32)) << "dq";
    EXPECT_TRUE(close(actual.dk.rows(segment), expected.dk.rows(segment), DType::kF32)) << "dk";
    EXPECT_TRUE(close(actual.dv.rows(segment), expected.dv.rows(segment), DType::kF32)) << "dv";
    // Sums of the size of v * dv: a gradient may be a small difference of them.
    const double size = largest(world.v.rows(segment)) * largest(expected.dv.rows(segment));
    EXPECT_TRUE(close_differences(actual.dz.rows(segment), expected.dz.rows(segment), size)) << "dz";
    logit_size = std::max(logit_size, size);
  }
  EXPECT_TRUE(close_differences(actual.d_bias, expected.d_bias, logit_size)) << "d_bias";
}

}  // namespace dslad::kernels::testing
