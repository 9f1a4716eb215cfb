// Sequences with their states and one step's rows, for the tests of the delta rule's CUDA kernels.
//
// As in dsla_world.h rows of all tensors are wider than they need to be, with NaN between them, and a row of
// NaN that belongs to nobody precedes every piece: whatever a kernel reads or writes astray shows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "kernels/delta/delta_rule.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels::testing {

// Logits are normal around a mean; beta's means none and all.
struct DeltaLogits {
  float gate = 6.0f, gate_deviation = 3.0f, beta = 0.0f, beta_deviation = 2.0f;
};

// What a run left behind.
struct DeltaOutcome {
  std::vector<float> o;                    // [R, o_stride]
  std::vector<std::vector<float>> states;  // one for each sequence
};

struct DeltaSpan {
  std::int64_t first_row, rows;
};

class DeltaRuleWorld {
 public:
  explicit DeltaRuleWorld(DslaShape shape, std::uint64_t seed = 1, DeltaLogits logits = {})
      : shape_(shape), logits_(logits), generator_(seed) {
    shape_.states = 1;
    append(bias_, 2 * shape_.n_kv, 0);
  }

  // A sequence with a random state and `rows` random rows in the step. Keys and queries of several lengths.
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
  [[nodiscard]] std::vector<float>& initial_state(std::size_t sequence) { return states_[sequence]; }

  [[nodiscard]] DeltaOutcome run_ref() const { return run_by(delta_rule_ref); }
  // By another version of the operation, of all sequences or of some: run(args).
  template <class Run>
  [[nodiscard]] DeltaOutcome run_by(const Run& run) const {
    std::vector<std::size_t> sequences(spans_.size());
    std::iota(sequences.begin(), sequences.end(), 0);
    return run_by(run, sequences);
  }
  template <class Run>
  [[nodiscard]] DeltaOutcome run_by(const Run& run, const std::vector<std::size_t>& sequences) const {
    DeltaOutcome outcome{poisoned(rows_ * o_stride()), states_};
    std::vector<DslaPiece> pieces;
    pieces.reserve(sequences.size());
    for (const std::size_t i : sequences)
      pieces.push_back({spans_[i].first_row, spans_[i].rows, outcome.states[i].data()});
    run(args(outcome.o, pieces));
    return outcome;
  }
  // The first sequence alone, in pieces of so many rows, one call each.
  template <class Run>
  [[nodiscard]] DeltaOutcome run_cut(const Run& run, std::int64_t rows) const {
    DeltaOutcome outcome{poisoned(rows_ * o_stride()), states_};
    for (std::int64_t begin = 0; begin < spans_[0].rows; begin += rows) {
      const DslaPiece piece{spans_[0].first_row + begin, std::min(rows, spans_[0].rows - begin),
                            outcome.states[0].data()};
      run(args(outcome.o, {&piece, 1}));
    }
    return outcome;
  }

  // The rows of a sequence, packed.
  [[nodiscard]] std::vector<float> rows_of(const DeltaOutcome& outcome, std::size_t sequence) const {
    std::vector<float> rows;
    for (std::int64_t r = 0; r < spans_[sequence].rows; ++r) {
      const auto row = outcome.o.begin() + (spans_[sequence].first_row + r) * o_stride();
      rows.insert(rows.end(), row, row + std::int64_t{shape_.n_heads} * shape_.d_v);
    }
    return rows;
  }

  [[nodiscard]] const DslaShape& shape() const { return shape_; }
  [[nodiscard]] std::size_t size() const { return spans_.size(); }
  [[nodiscard]] const DeltaSpan& span(std::size_t sequence) const { return spans_[sequence]; }

 private:
  static constexpr int kGap = 3;  // floats of poison after each row

  [[nodiscard]] std::int64_t q_stride() const { return std::int64_t{shape_.n_heads} * shape_.d_k + kGap; }
  [[nodiscard]] std::int64_t k_stride() const { return std::int64_t{shape_.n_kv} * shape_.d_k + kGap; }
  [[nodiscard]] std::int64_t v_stride() const { return std::int64_t{shape_.n_kv} * shape_.d_v + kGap; }
  [[nodiscard]] std::int64_t z_stride() const { return std::int64_t{2} * shape_.n_kv + kGap; }
  [[nodiscard]] std::int64_t o_stride() const { return std::int64_t{shape_.n_heads} * shape_.d_v + kGap; }

  void append(std::vector<float>& to, std::int64_t count, int gap, float scale = 1.0f, float mean = 0.0f) {
    std::normal_distribution<float> normal;
    for (std::int64_t j = 0; j < count; ++j) to.push_back(mean + scale * normal(generator_));
    to.resize(to.size() + static_cast<std::size_t>(gap), std::numeric_limits<float>::quiet_NaN());
  }

  // `length`: of keys and queries, about; NaN for a row of nobody's.
  void add_row(float length) {
    const float one = length / length;
    append(q_, q_stride() - kGap, kGap, length);
    append(k_, k_stride() - kGap, kGap, length);
    append(v_, v_stride() - kGap, kGap, one);
    append(z_, shape_.n_kv, 0, one * logits_.gate_deviation, logits_.gate);
    append(z_, shape_.n_kv, kGap, one * logits_.beta_deviation, logits_.beta);
    ++rows_;
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
  std::vector<DeltaSpan> spans_;
  std::vector<std::vector<float>> states_;
};

}  // namespace dslad::kernels::testing
