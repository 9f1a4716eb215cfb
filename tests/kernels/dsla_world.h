// Sequences with their states and one step's rows, for the DSLA tests.
//
// Rows of all tensors are wider than they need to be, with NaN between them, and a row of NaN that belongs to
// nobody precedes every piece: whatever a kernel reads or writes astray shows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/dsla/dsla.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels::testing {

// Gate logits are normal with this deviation around one mean for each state.
struct GateLogits {
  float deviation = 3.0f;
  float mean[2] = {6.0f, -6.0f};
};

// What a run left behind.
struct DslaOutcome {
  std::vector<float> o;                    // [R, o_stride]
  std::vector<std::vector<float>> states;  // one for each sequence
};

struct DslaSpan {
  std::int64_t first_row, rows;
};

class DslaWorld {
 public:
  explicit DslaWorld(DslaShape shape, std::uint64_t seed = 1, GateLogits gates = {})
      : shape_(shape), gates_(gates), generator_(seed) {
    append(bias_, shape_.n_kv * shape_.channels(), 0);
    std::uniform_real_distribution<float> history(0, 1);
    for (int head = 0; head < shape_.n_heads; ++head) mix_.push_back(history(generator_));
    if (shape_.states == 1) return;  // any factor will do
    for (int head = 0; head < shape_.n_heads; ++head)
      mix_.push_back(1 - mix_[static_cast<std::size_t>(head)]);
  }

  // A sequence with a random state and `rows` random rows in the step.
  void add(std::int64_t rows) {
    add_row(std::numeric_limits<float>::quiet_NaN());
    spans_.push_back({rows_, rows});
    for (std::int64_t r = 0; r < rows; ++r) add_row(1.0f);
    append(states_.emplace_back(), static_cast<std::int64_t>(shape_.state_floats()), 0);
  }

  // Replaces the values, not the gates, of a row.
  void scale_row(std::int64_t row, float factor) {
    for (std::int64_t j = 0; j < v_width(); ++j) v_[row * v_stride() + j] *= factor;
    for (std::int64_t j = 0; j < k_width(); ++j) k_[row * k_stride() + j] *= factor;
  }

  void set_gate_logit(std::int64_t row, float logit) { z_[row * z_stride()] = logit; }

  // Every head's; without it each head has a random mixture of its own. REQUIRES: two states.
  void set_mix(float history, float recency) {
    std::fill_n(mix_.begin(), shape_.n_heads, history);
    std::fill_n(mix_.begin() + shape_.n_heads, shape_.n_heads, recency);
  }

  DslaOutcome run(int threads) const { return run(threads, all()); }
  DslaOutcome run_ref() const { return run_by(dsla_ref); }
  DslaOutcome run(int threads, std::span<const std::size_t> sequences) const {
    ThreadPool pool(threads);
    return run_pieces(sequences, [&](const DslaArgs& args) { dsla_cpu(pool, args); });
  }

  // By another version of the operation: run(args).
  template <class Run>
  DslaOutcome run_by(const Run& run) const {
    return run_pieces(all(), run);
  }
  template <class Run>
  DslaOutcome run_by(const Run& run, std::span<const std::size_t> sequences) const {
    return run_pieces(sequences, run);
  }

  // The first sequence alone, in pieces that end at the given rows, one call each.
  DslaOutcome run_cut(const std::vector<std::int64_t>& ends) const {
    DslaOutcome outcome{poisoned(rows_ * o_stride()), states_};
    ThreadPool pool(2);
    std::int64_t begin = 0;
    for (const std::int64_t end : ends) {
      const DslaPiece piece{spans_[0].first_row + begin, end - begin, outcome.states[0].data()};
      dsla_cpu(pool, args(outcome.o, {&piece, 1}));
      begin = end;
    }
    return outcome;
  }

  // The rows of a sequence, packed.
  [[nodiscard]] std::vector<float> rows_of(const DslaOutcome& outcome, std::size_t sequence) const {
    std::vector<float> rows;
    for (std::int64_t r = 0; r < spans_[sequence].rows; ++r) {
      const auto row = outcome.o.begin() + (spans_[sequence].first_row + r) * o_stride();
      rows.insert(rows.end(), row, row + o_width());
    }
    return rows;
  }

  [[nodiscard]] std::size_t size() const { return spans_.size(); }
  [[nodiscard]] const DslaSpan& span(std::size_t sequence) const { return spans_[sequence]; }
  [[nodiscard]] const std::vector<float>& initial_state(std::size_t sequence) const {
    return states_[sequence];
  }
  [[nodiscard]] const float* q(std::int64_t row) const { return q_.data() + row * q_stride(); }
  [[nodiscard]] const float* k(std::int64_t row) const { return k_.data() + row * k_stride(); }
  [[nodiscard]] const float* v(std::int64_t row) const { return v_.data() + row * v_stride(); }

 private:
  static constexpr int kGap = 3;  // floats of poison after each row

  [[nodiscard]] std::int64_t k_width() const { return std::int64_t{shape_.n_kv} * shape_.d_k; }
  [[nodiscard]] std::int64_t v_width() const { return std::int64_t{shape_.n_kv} * shape_.d_v; }
  [[nodiscard]] std::int64_t o_width() const { return std::int64_t{shape_.n_heads} * shape_.d_v; }
  [[nodiscard]] std::int64_t q_stride() const { return std::int64_t{shape_.n_heads} * shape_.d_k + kGap; }
  [[nodiscard]] std::int64_t k_stride() const { return k_width() + kGap; }
  [[nodiscard]] std::int64_t v_stride() const { return v_width() + kGap; }
  [[nodiscard]] std::int64_t z_stride() const { return shape_.states * k_width() + kGap; }
  [[nodiscard]] std::int64_t o_stride() const { return o_width() + kGap; }

  void append(std::vector<float>& to, std::int64_t count, int gap, float scale = 1.0f, float mean = 0.0f) {
    std::normal_distribution<float> normal;
    for (std::int64_t j = 0; j < count; ++j) to.push_back(mean + scale * normal(generator_));
    to.resize(to.size() + static_cast<std::size_t>(gap), std::numeric_limits<float>::quiet_NaN());
  }

  void add_row(float scale) {
    append(q_, q_stride() - kGap, kGap, scale);
    append(k_, k_width(), kGap, scale);
    append(v_, v_width(), kGap, scale);
    for (int i = 0; i < shape_.states; ++i)
      append(z_, k_width(), i + 1 < shape_.states ? 0 : kGap, scale * gates_.deviation, gates_.mean[i]);
    ++rows_;
  }

  [[nodiscard]] std::vector<std::size_t> all() const {
    std::vector<std::size_t> sequences(spans_.size());
    std::iota(sequences.begin(), sequences.end(), 0);
    return sequences;
  }

  template <class Run>
  DslaOutcome run_pieces(std::span<const std::size_t> sequences, const Run& run) const {
    DslaOutcome outcome{poisoned(rows_ * o_stride()), states_};
    std::vector<DslaPiece> pieces;
    for (const std::size_t i : sequences) {
      pieces.push_back({spans_[i].first_row, spans_[i].rows, outcome.states[i].data()});
    }
    run(args(outcome.o, pieces));
    return outcome;
  }

  [[nodiscard]] DslaArgs args(std::vector<float>& o, std::span<const DslaPiece> pieces) const {
    return {shape_,    q_.data(),  q_stride(),   k_.data(),   k_stride(), v_.data(),  v_stride(),
            z_.data(), z_stride(), bias_.data(), mix_.data(), o.data(),   o_stride(), pieces};
  }

  DslaShape shape_;
  GateLogits gates_;
  std::mt19937_64 generator_;
  std::int64_t rows_ = 0;
  std::vector<float> q_, k_, v_, z_, bias_, mix_;
  std::vector<DslaSpan> spans_;
  std::vector<std::vector<float>> states_;
};

}  // namespace dslad::kernels::testing
