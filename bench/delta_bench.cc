// delta_bench [--threads N]: the gated delta rule against the float32 peak and memory updated in place, and
// beside DSLA with states of the same size; training's forward and backward beside it.
//
// Each shape is first compared with the reference; a kernel that fails is not timed.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <fmt/core.h>
#include <limits>
#include <vector>

#include "bench/peaks.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/delta/delta_rule.h"
#include "kernels/delta/sequence_delta_rule.h"
#include "kernels/dsla/dsla.h"

namespace dslad::bench {
namespace {

using kernels::DslaShape;
using kernels::Segment;
using kernels::ThreadPool;

struct NamedShape {
  const char* name;
  int n_heads, n_kv, d_k, d_v;
};

// d_k as a softmax_pair map makes it of heads, and of heads with expand_k 2.
constexpr NamedShape kWideShapes[] = {{"SmolLM2-135M", 9, 3, 128, 64},
                                      {"SmolLM2-135M, expand_k 2", 9, 3, 256, 64},
                                      {"Llama-3-8B", 32, 8, 256, 128}};

std::vector<float> wave(std::int64_t count, float step) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i)
    values[static_cast<std::size_t>(i)] = std::sin(step * static_cast<float>(i % 10007));
  return values;
}

double difference(const std::vector<float>& actual, const std::vector<float>& expected) {
  double size = 0, worst = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    size = std::fmax(size, std::abs(expected[i]));
    worst = std::fmax(worst, std::abs(actual[i] - expected[i]));
  }
  return worst / size;
}

// `sequences` sequences that each append `rows` tokens, by either rule.
class Step {
 public:
  Step(const NamedShape& shape, int sequences, std::int64_t rows)
      : shape_{shape.n_heads, shape.n_kv, shape.d_k, shape.d_v, 1},
        rows_(sequences * rows),
        q_(wave(rows_ * shape.n_heads * shape.d_k, 0.37f)),
        k_(wave(rows_ * shape.n_kv * shape.d_k, 0.61f)),
        v_(wave(rows_ * shape.n_kv * shape.d_v, 0.83f)),
        z_(wave(rows_ * shape.n_kv * shape.d_k, 0.23f)),
        bias_(wave(std::int64_t{shape.n_kv} * shape.d_k, 0.5f)),
        mix_(static_cast<std::size_t>(shape.n_heads), 1.0f),
        o_(static_cast<std::size_t>(rows_ * shape.n_heads * shape.d_v)),
        states_(wave(sequences * static_cast<std::int64_t>(shape_.state_floats()), 0.41f)) {
    for (int s = 0; s < sequences; ++s)
      pieces_.push_back({s * rows, rows, states_.data() + s * shape_.state_floats()});
  }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  void delta(ThreadPool& pool) { kernels::delta_rule_cpu(pool, args()); }
  void dsla(ThreadPool& pool) {
    kernels::dsla_cpu(pool,
                      {shape_, q_.data(), q_stride(), k_.data(), k_stride(), v_.data(), v_stride(), z_.data(),
                       k_stride(), bias_.data(), mix_.data(), o_.data(), o_stride(), pieces_});
  }

  double error(ThreadPool& pool) {
    const std::vector<float> start = states_;
    kernels::delta_rule_ref(args());
    const std::vector<float> o = o_, states = states_;
    states_ = start;
    delta(pool);
    return std::max(difference(o_, o), difference(states_, states));
  }

  [[nodiscard]] double bytes() const { return 2.0 * static_cast<double>(states_.size()) * sizeof(float); }
  // Of the recurrence: what a key finds, its update, and each query head's output.
  [[nodiscard]] double operations() const {
    return 2.0 * shape_.d_k * shape_.d_v * (shape_.n_heads + 2 * shape_.n_kv) * static_cast<double>(rows_);
  }

 private:
  [[nodiscard]] std::int64_t q_stride() const { return std::int64_t{shape_.n_heads} * shape_.d_k; }
  [[nodiscard]] std::int64_t k_stride() const { return std::int64_t{shape_.n_kv} * shape_.d_k; }
  [[nodiscard]] std::int64_t v_stride() const { return std::int64_t{shape_.n_kv} * shape_.d_v; }
  [[nodiscard]] std::int64_t o_stride() const { return std::int64_t{shape_.n_heads} * shape_.d_v; }
  kernels::DeltaRuleArgs args() {
    return {shape_,    q_.data(),  q_stride(),   k_.data(), k_stride(), v_.data(), v_stride(),
            z_.data(), k_stride(), bias_.data(), o_.data(), o_stride(), pieces_};
  }

  DslaShape shape_;
  std::int64_t rows_;  // of all sequences
  std::vector<float> q_, k_, v_, z_, bias_, mix_, o_, states_;
  std::vector<kernels::DslaPiece> pieces_;
};

// One sequence in training.
class Sequence {
 public:
  Sequence(const NamedShape& shape, std::int64_t rows)
      : shape_{shape.n_heads, shape.n_kv, shape.d_k, shape.d_v, 1},
        segment_{0, rows},
        q_(wave(rows * q_stride(), 0.37f)),
        k_(wave(rows * k_stride(), 0.61f)),
        v_(wave(rows * v_stride(), 0.83f)),
        z_(wave(rows * z_stride(), 0.23f)),
        bias_(wave(z_stride(), 0.5f)),
        d_o_(wave(rows * o_stride(), 0.29f)),
        o_(d_o_.size()),
        dq_(q_.size()),
        dk_(k_.size()),
        dv_(v_.size()),
        dz_(z_.size()),
        d_bias_(bias_.size()) {}

  void forward(ThreadPool& pool) { kernels::sequence_delta_rule_cpu(pool, args()); }
  void backward(ThreadPool& pool) { kernels::sequence_delta_rule_backward_cpu(pool, backward_args()); }

  // Largest difference from the reference, as a share of the largest value, of all results.
  double error(ThreadPool& pool) {
    Sequence expected = *this;
    forward(pool);
    backward(pool);
    kernels::sequence_delta_rule_ref(expected.args());
    kernels::sequence_delta_rule_backward_ref(expected.backward_args());
    double worst = 0;
    for (auto part : {&Sequence::o_, &Sequence::dq_, &Sequence::dk_, &Sequence::dv_, &Sequence::dz_})
      worst = std::fmax(worst, difference(this->*part, expected.*part));
    return worst;
  }

  [[nodiscard]] double forward_operations() const { return per_state() * (shape_.n_heads + 2 * shape_.n_kv); }
  // The states again, what keys find, and for each query head dq and its part of dS; dk twice, dx and dS.
  [[nodiscard]] double backward_operations() const {
    return per_state() * (2 * shape_.n_heads + 6 * shape_.n_kv);
  }

 private:
  [[nodiscard]] double per_state() const {
    return 2.0 * shape_.d_k * shape_.d_v * static_cast<double>(segment_.rows);
  }
  [[nodiscard]] std::int64_t q_stride() const { return std::int64_t{shape_.n_heads} * shape_.d_k; }
  [[nodiscard]] std::int64_t k_stride() const { return std::int64_t{shape_.n_kv} * shape_.d_k; }
  [[nodiscard]] std::int64_t v_stride() const { return std::int64_t{shape_.n_kv} * shape_.d_v; }
  [[nodiscard]] std::int64_t o_stride() const { return std::int64_t{shape_.n_heads} * shape_.d_v; }
  [[nodiscard]] std::int64_t z_stride() const { return std::int64_t{2} * shape_.n_kv; }
  kernels::SequenceDeltaRuleArgs args() {
    return {shape_,    q_.data(),  q_stride(),   k_.data(), k_stride(), v_.data(),     v_stride(),
            z_.data(), z_stride(), bias_.data(), o_.data(), o_stride(), {&segment_, 1}};
  }
  kernels::SequenceDeltaRuleBackwardArgs backward_args() {
    return {args(),     d_o_.data(), dq_.data(), q_stride(), dk_.data(),    k_stride(),
            dv_.data(), v_stride(),  dz_.data(), z_stride(), d_bias_.data()};
  }

  DslaShape shape_;
  Segment segment_;
  std::vector<float> q_, k_, v_, z_, bias_, d_o_, o_, dq_, dk_, dv_, dz_, d_bias_;
};

// In turn, so that what the neighbours of a busy machine take, they take from both.
void beside_dsla(const NamedShape& shape, int sequences, std::int64_t rows, double peak, double bandwidth,
                 ThreadPool& pool) {
  constexpr int kRounds = 10;
  Step delta(shape, sequences, rows), dsla(shape, sequences, rows);
  double delta_s = std::numeric_limits<double>::infinity(), dsla_s = delta_s;
  for (int round = 0; round < kRounds; ++round) {
    delta_s = std::min(delta_s, best_step_seconds(pool, 2, [&] { delta.delta(pool); }));
    dsla_s = std::min(dsla_s, best_step_seconds(pool, 2, [&] { dsla.dsla(pool); }));
  }
  fmt::print(
      "  {:4} row(s) x {:3}  {:9.3f} ms  {:5.1f} GFLOP/s of {:5.1f}, {:5.1f} GB/s of {:5.1f}; "
      "DSLA's state of that size {:9.3f} ms: {:4.2f} of it\n",
      rows, sequences, delta_s * 1e3, delta.operations() / delta_s / 1e9, peak / 1e9,
      delta.bytes() / delta_s / 1e9, bandwidth / 1e9, dsla_s * 1e3, delta_s / dsla_s);
}

void time_training(const NamedShape& shape, std::int64_t rows, double peak, ThreadPool& pool) {
  Sequence sequence(shape, rows);
  const auto print = [&](const char* pass, double operations, double seconds) {
    fmt::print("  {:8} {:5} rows  {:9.3f} ms  {:6.2f} us/token  {:5.1f} GFLOP/s of {:5.1f}\n", pass, rows,
               seconds * 1e3, seconds * 1e6 / static_cast<double>(rows), operations / seconds / 1e9,
               peak / 1e9);
  };
  print("forward", sequence.forward_operations(),
        best_step_seconds(pool, 5, [&] { sequence.forward(pool); }));
  print("backward", sequence.backward_operations(),
        best_step_seconds(pool, 5, [&] { sequence.backward(pool); }));
}

bool report(const NamedShape& shape, ThreadPool& pool) {
  const double error = std::max(
      {Step(shape, 2, 1).error(pool), Step(shape, 1, 100).error(pool), Sequence(shape, 100).error(pool)});
  fmt::print("{}: {} query heads, {} KV heads, state of {} x {}; error against the reference {:.1e}\n",
             shape.name, shape.n_heads, shape.n_kv, shape.d_k, shape.d_v, error);
  if (!(error < 1e-4)) return false;
  const double peak = f32_peak(pool), bandwidth = update_bandwidth(pool);
  for (const std::int64_t rows : {128, 512, 2048}) beside_dsla(shape, 1, rows, peak, bandwidth, pool);
  for (const int sequences : {1, 32, 256}) beside_dsla(shape, sequences, 1, peak, bandwidth, pool);
  for (const std::int64_t rows : {1024, 4096}) time_training(shape, rows, peak, pool);
  return true;
}

}  // namespace
}  // namespace dslad::bench

int main(int argc, char** argv) {
  int threads = 1;
  CLI::App app("The gated delta rule on models' shapes, beside the machine's limits and DSLA.",
               "delta_bench");
  app.add_option("--threads", threads, "CPU threads")->check(CLI::Range(1, 1024))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  dslad::kernels::ThreadPool pool(threads);
  fmt::print("{} thread(s)\n", threads);
  const auto passes = [&](const dslad::bench::NamedShape& shape) {
    return dslad::bench::report(shape, pool);
  };
  return std::ranges::all_of(dslad::bench::kWideShapes, passes) ? 0 : 1;
}
