// Sequences with their states and one step's rows, for the delta rule's tests.
//
// Rows are wider than they need to be, with NaN between them, and a row of NaN that belongs to nobody
// precedes every piece: whatever a kernel reads or writes astray shows.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/delta/delta_rule.h"
#include "tests/kernels/dsla_world.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels::testing {

// Logits are normal around a mean; beta's means none and all.
struct DeltaLogits {
  float gate = 6.0f, gate_deviation = 3.0f, beta = 0.0f, beta_deviation = 2.0f;
};

class DeltaWorld {
 public:
  explicit DeltaWorld(DslaShape shape, std::uint64_t seed = 1, DeltaLogits logits = {})
      : shape_(shape), logits_(logits), generator_(seed) {
    shape_.states = 1;
    append(bias_, 2 * shape_.n_kv, 0);
  }

  // A sequence with a random state and `rows` random rows in the step, keys and queries of several lengths.
  void add(std::int64_t rows) {
    add_row(std::numeric_limits<float>::quiet_NaN());
    spans_.push_back({rows_, rows});
    for (std::int64_t r = 0; r < rows; ++r) add_row(static_cast<float>(std::pow(10.0, rows_ % 7 - 3)));
    append(states_.emplace_back(), static_cast<std::int64_t>(shape_.state_floats()), 0);
  }

  [[nodiscard]] float* q(std::int64_t row) { return q_.data() + row * q_stride(); }
  [[nodiscard]] float* k(std::int64_t row) { return k_.data() + row * k_stride(); }
  [[nodiscard]] float* v(std::int64_t row) { return v_.data() + row * v_stride(); }
  [[nodiscard]] float* z(std::int64_t row) { return z_.data() + row * z_stride(); }

  [[nodiscard]] DslaOutcome run(int threads) const { return run(threads, all()); }
  [[nodiscard]] DslaOutcome run(int threads, std::span<const std::size_t> sequences) const {
    ThreadPool pool(threads);
    return run_by([&](const DeltaRuleArgs& args) { delta_rule_cpu(pool, args); }, sequences);
  }
  [[nodiscard]] DslaOutcome run_ref() const { return run_by(delta_rule_ref, all()); }

  // By another version of the operation: run(args).
  template <class Run>
  DslaOutcome run_by(const Run& run) const {
    return run_by(run, all());
  }
  template <class Run>
  DslaOutcome run_by(const Run& run, std::span<const std::size_t> sequences) const {
    DslaOutcome outcome{poisoned(rows_ * o_stride()), states_};
    std::vector<DslaPiece> pieces;
    for (const std::size_t i : sequences)
      pieces.push_back({spans_[i].first_row, spans_[i].rows, outcome.states[i].data()});
    run(args(outcome.o, pieces));
    return outcome;
  }

  // The first sequence alone, in pieces that end at the given rows, one call each.
  [[nodiscard]] DslaOutcome run_cut(const std::vector<std::int64_t>& ends) const {
    ThreadPool pool(2);
    return run_cut([&](const DeltaRuleArgs& args) { delta_rule_cpu(pool, args); }, ends);
  }
  template <class Run>
  DslaOutcome run_cut(const Run& run, const std::vector<std::int64_t>& ends) const {
    DslaOutcome outcome{poisoned(rows_ * o_stride()), states_};
    std::int64_t begin = 0;
    for (const std::int64_t end : ends) {
      const DslaPiece piece{spans_[0].first_row + begin, end - begin, outcome.states[0].data()};
      run(args(outcome.o, {&piece, 1}));
      begin = end;
    }
    return outcome;
  }
  // The same in pieces of so many rows.
  template <class Run>
  DslaOutcome run_cut(const Run& run, std::int64_t rows) const {
    std::vector<std::int64_t> ends;
    for (std::int64_t end = rows; end < spans_[0].rows; end += rows) ends.push_back(end);
    ends.push_back(spans_[0].rows);
    return run_cut(run, ends);
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

 private:
  static constexpr int kGap = 3;  // floats of poison after each row

  [[nodiscard]] std::int64_t k_width() const { return std::int64_t{shape_.n_kv} * shape_.d_k; }
  [[nodiscard]] std::int64_t v_width() const { return std::int64_t{shape_.n_kv} * shape_.d_v; }
  [[nodiscard]] std::int64_t o_width() const { return std::int64_t{shape_.n_heads} * shape_.d_v; }
  [[nodiscard]] std::int64_t q_stride() const { return std::int64_t{shape_.n_heads} * shape_.d_k + kGap; }
  [[nodiscard]] std::int64_t k_stride() const { return k_width() + kGap; }
  [[nodiscard]] std::int64_t v_stride() const { return v_width() + kGap; }
  [[nodiscard]] std::int64_t z_stride() const { return std::int64_t{2} * shape_.n_kv + kGap; }
  [[nodiscard]] std::int64_t o_stride() const { return o_width() + kGap; }

  void append(std::vector<float>& to, std::int64_t count, int gap, float scale = 1.0f, float mean = 0.0f) {
    std::normal_distribution<float> normal;
    for (std::int64_t j = 0; j < count; ++j) to.push_back(mean + scale * normal(generator_));
    to.resize(to.size() + static_cast<std::size_t>(gap), std::numeric_limits<float>::quiet_NaN());
  }

  // `length`: about that of keys and queries; NaN: of a row of poison.
  void add_row(float length) {
    const float scale = std::isnan(length) ? length : 1.0f;
    append(q_, q_stride() - kGap, kGap, length);
    append(k_, k_width(), kGap, length);
    append(v_, v_width(), kGap, scale);
    append(z_, shape_.n_kv, 0, scale * logits_.gate_deviation, logits_.gate);
    append(z_, shape_.n_kv, kGap, scale * logits_.beta_deviation, logits_.beta);
    ++rows_;
  }

  [[nodiscard]] std::vector<std::size_t> all() const {
    std::vector<std::size_t> sequences(spans_.size());
    std::iota(sequences.begin(), sequences.end(), 0);
    return sequences;
  }

  [[nodiscard]] DeltaRuleArgs args(std::vector<float>& o, std::span<const DslaPiece> pieces) const {
    return {shape_,    q_.data(),  q_stride(),   k_.data(), k_stride(), v_.data(), v_stride(),
            z_.data(), z_stride(), bias_.data(), o.data(),  o_stride(), pieces};
  }

  DslaShape shape_;
  DeltaLogits logits_;
  std::mt19937_64 generator_;
  std::int64_t rows_ = 0;
  std::vector<float> q_, k_, v_, z_, bias_;
  std::vector<DslaSpan> spans_;
  std::vector<std::vector<float>> states_;
};

}  // namespace dslad::kernels::testing
