// A batch of segments with random rows, for the tests of sequence attention.
//
// Rows are wider than they need to be and segments lie apart; what lies between is NaN in inputs and outputs
// alike: whatever a kernel reads or writes astray shows.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "kernels/attention/sequence_attention.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels::testing {

struct SequenceShape {
  int n_heads, n_kv, d;
  std::int64_t window = 0, sinks = 0;
};

// Every output of the forward and the backward pass.
struct SequenceOutcome {
  std::vector<float> o, lse, entropy, dq, dk, dv;
};

class SequenceWorld {
 public:
  explicit SequenceWorld(SequenceShape shape, std::uint64_t seed = 1) : shape_(shape), generator_(seed) {}

  // A segment of `rows` random tokens; returns its index. Queries and keys have standard deviation `scale`.
  std::int32_t add(std::int64_t rows, std::int32_t parent = -1, float scale = 1.0f) {
    segments_.push_back({rows_ + kGap, rows, parent});
    for (std::int64_t r = 0; r < kGap; ++r) add_row(nan(), nan());
    for (std::int64_t r = 0; r < rows; ++r) add_row(scale, 1.0f);
    return static_cast<std::int32_t>(segments_.size()) - 1;
  }

  // Puts other random values into all inputs of one row.
  void change(std::int64_t row) {
    fill(q_, row, query_width(), q_stride(), 1.0f);
    fill(k_, row, key_width(), kv_stride(), 1.0f);
    fill(v_, row, key_width(), kv_stride(), 1.0f);
    fill(d_o_, row, query_width(), o_stride(), 1.0f);
  }

  SequenceOutcome run(int threads) const {
    ThreadPool pool(threads);
    return run(pool, segments_);
  }
  // Over the given segments alone.
  SequenceOutcome run(ThreadPool& pool, std::span<const Segment> segments) const {
    SequenceOutcome out = poison();
    const SequenceAttentionArgs forward = args(out, segments);
    sequence_attention_cpu(pool, forward);
    sequence_attention_backward_cpu(pool, backward(out, forward));
    return out;
  }
  SequenceOutcome run_ref() const {
    SequenceOutcome out = poison();
    const SequenceAttentionArgs forward = args(out, segments_);
    sequence_attention_ref(forward);
    sequence_attention_backward_ref(backward(out, forward));
    return out;
  }

  // A segment's rows of `values`, whose rows are `stride` apart and `width` wide.
  [[nodiscard]] std::vector<float> rows_of(const std::vector<float>& values, std::int32_t segment,
                                           std::int64_t stride, std::int64_t width) const {
    const Segment& s = segments_[static_cast<std::size_t>(segment)];
    std::vector<float> rows;
    for (std::int64_t r = 0; r < s.rows; ++r) {
      const auto row = values.begin() + (s.first_row + r) * stride;
      rows.insert(rows.end(), row, row + width);
    }
    return rows;
  }
  // What one segment's queries have: o, lse, entropy and dq behind each other.
  [[nodiscard]] std::vector<float> query_side(const SequenceOutcome& out, std::int32_t segment) const {
    std::vector<float> all = rows_of(out.o, segment, o_stride(), query_width());
    for (const std::vector<float>& more : {rows_of(out.lse, segment, shape_.n_heads, shape_.n_heads),
                                           rows_of(out.entropy, segment, shape_.n_heads, shape_.n_heads),
                                           rows_of(out.dq, segment, dq_stride(), query_width())}) {
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }
  // What one segment's keys have: dk and dv.
  [[nodiscard]] std::vector<float> key_side(const SequenceOutcome& out, std::int32_t segment) const {
    std::vector<float> all = rows_of(out.dk, segment, dkv_stride(), key_width());
    const std::vector<float> dv = rows_of(out.dv, segment, dkv_stride(), key_width());
    all.insert(all.end(), dv.begin(), dv.end());
    return all;
  }

  [[nodiscard]] const SequenceShape& shape() const { return shape_; }
  [[nodiscard]] const std::vector<Segment>& segments() const { return segments_; }
  [[nodiscard]] float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.d)); }
  [[nodiscard]] std::int64_t query_width() const { return std::int64_t{shape_.n_heads} * shape_.d; }
  [[nodiscard]] std::int64_t key_width() const { return std::int64_t{shape_.n_kv} * shape_.d; }
  [[nodiscard]] std::int64_t q_stride() const { return query_width() + 3; }
  [[nodiscard]] std::int64_t kv_stride() const { return key_width() + 5; }
  [[nodiscard]] std::int64_t o_stride() const { return query_width() + 1; }
  [[nodiscard]] std::int64_t dq_stride() const { return query_width() + 2; }
  [[nodiscard]] std::int64_t dkv_stride() const { return key_width() + 7; }
  [[nodiscard]] std::vector<float>& q() { return q_; }
  [[nodiscard]] std::vector<float>& k() { return k_; }
  [[nodiscard]] std::vector<float>& v() { return v_; }
  [[nodiscard]] const std::vector<float>& d_o() const { return d_o_; }

 private:
  static constexpr std::int64_t kGap = 2;  // rows before each segment

  static float nan() { return std::numeric_limits<float>::quiet_NaN(); }

  void fill(std::vector<float>& values, std::int64_t row, std::int64_t width, std::int64_t stride,
            float scale) {
    std::normal_distribution<float> normal(0.0f, 1.0f);
    values.resize(static_cast<std::size_t>(std::max(rows_, row + 1) * stride), nan());
    for (std::int64_t j = 0; j < width; ++j) values[row * stride + j] = scale * normal(generator_);
  }

  void add_row(float scale, float value_scale) {
    fill(q_, rows_, query_width(), q_stride(), scale);
    fill(k_, rows_, key_width(), kv_stride(), scale);
    fill(v_, rows_, key_width(), kv_stride(), value_scale);
    fill(d_o_, rows_, query_width(), o_stride(), value_scale);
    ++rows_;
  }

  [[nodiscard]] SequenceOutcome poison() const {
    return {poisoned(rows_ * o_stride()),  poisoned(rows_ * shape_.n_heads), poisoned(rows_ * shape_.n_heads),
            poisoned(rows_ * dq_stride()), poisoned(rows_ * dkv_stride()),   poisoned(rows_ * dkv_stride())};
  }

  SequenceAttentionArgs args(SequenceOutcome& out, std::span<const Segment> segments) const {
    return {.n_heads = shape_.n_heads,
            .n_kv = shape_.n_kv,
            .head_dim = shape_.d,
            .scale = scale(),
            .window = shape_.window,
            .q = q_.data(),
            .q_stride = q_stride(),
            .k = k_.data(),
            .v = v_.data(),
            .kv_stride = kv_stride(),
            .o = out.o.data(),
            .o_stride = o_stride(),
            .lse = out.lse.data(),
            .entropy = out.entropy.data(),
            .segments = segments,
            .sinks = shape_.sinks};
  }

  SequenceAttentionBackwardArgs backward(SequenceOutcome& out, const SequenceAttentionArgs& forward) const {
    return {.forward = forward,
            .d_o = d_o_.data(),
            .dq = out.dq.data(),
            .dq_stride = dq_stride(),
            .dk = out.dk.data(),
            .dv = out.dv.data(),
            .dkv_stride = dkv_stride()};
  }

  SequenceShape shape_;
  std::mt19937_64 generator_;
  std::int64_t rows_ = 0;
  std::vector<Segment> segments_;
  std::vector<float> q_, k_, v_, d_o_;
};

// Holds every output to the expected one; elements of no segment must be the poison they were.
inline void expect_close(const SequenceOutcome& actual, const SequenceOutcome& expected, double relative) {
  const auto compare = [&](const char* name, std::vector<float> a, std::vector<float> b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
      ASSERT_EQ(std::isnan(a[i]), std::isnan(b[i])) << name << " element " << i;
      if (std::isnan(a[i])) a[i] = b[i] = 0;
    }
    EXPECT_TRUE(close(a, b, relative)) << name;
  };
  compare("o", actual.o, expected.o);
  compare("lse", actual.lse, expected.lse);
  compare("entropy", actual.entropy, expected.entropy);
  compare("dq", actual.dq, expected.dq);
  compare("dk", actual.dk, expected.dk);
  compare("dv", actual.dv, expected.dv);
}

inline void expect_same_bits(const SequenceOutcome& actual, const SequenceOutcome& expected) {
  EXPECT_TRUE(same_bits(actual.o, expected.o)) << "o";
  EXPECT_TRUE(same_bits(actual.lse, expected.lse)) << "lse";
  EXPECT_TRUE(same_bits(actual.entropy, expected.entropy)) << "entropy";
  EXPECT_TRUE(same_bits(actual.dq, expected.dq)) << "dq";
  EXPECT_TRUE(same_bits(actual.dk, expected.dk)) << "dk";
  EXPECT_TRUE(same_bits(actual.dv, expected.dv)) << "dv";
}

}  // namespace dslad::kernels::testing
