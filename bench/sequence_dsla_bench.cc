// sequence_dsla_bench [--threads N]: training's DSLA, forward and backward, against the float32 peak and the
// memory's rate; how its time grows with the sequence, and its working memory beside the formula.
//
// Each shape is first compared with the reference; a kernel that fails is not timed.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fmt/core.h>
#include <malloc.h>
#include <new>
#include <vector>

#include "bench/kernel_steps.h"
#include "bench/peaks.h"
#include "kernels/dsla/sequence_dsla.h"

namespace {
std::atomic<std::size_t> aligned_bytes{0};
}

// Working memory is asked for through these two alone: they count what is held.
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto to = static_cast<std::size_t>(alignment);
  void* p = std::aligned_alloc(to, (size + to - 1) / to * to);
  if (p == nullptr) throw std::bad_alloc();
  aligned_bytes += malloc_usable_size(p);
  return p;
}
void operator delete(void* p, std::align_val_t) noexcept {
  aligned_bytes -= malloc_usable_size(p);
  std::free(p);
}

namespace dslad::bench {
namespace {

using kernels::Segment;
using kernels::ThreadPool;

// One sequence of random rows, and the results of both passes.
class Sequence {
 public:
  Sequence(const Shape& shape, std::int64_t rows)
      : shape_{shape.n_heads, shape.n_kv, shape.d, shape.d},
        segment_{0, rows},
        mix_(std::size_t{2} * static_cast<std::size_t>(shape.n_heads), 0.5f) {
    for (std::vector<float>* x : {&q_, &d_o_}) *x = wave(rows * query_width(), 0.37f);
    for (std::vector<float>* x : {&k_, &v_}) *x = wave(rows * key_width(), 0.61f);
    z_ = wave(rows * 2 * key_width(), 0.23f);
    bias_ = wave(2 * key_width(), 0.5f);
    for (std::vector<float>* x : {&o_, &dq_}) x->resize(q_.size());
    for (std::vector<float>* x : {&dk_, &dv_}) x->resize(k_.size());
    dz_.resize(z_.size());
    d_bias_.resize(bias_.size());
    d_mix_.resize(mix_.size());
  }

  void forward(ThreadPool& pool) { sequence_dsla_cpu(pool, args()); }
  void backward(ThreadPool& pool) { sequence_dsla_backward_cpu(pool, backward_args()); }

  // Largest difference from the reference, as a share of the largest value, of all results.
  double error(ThreadPool& pool) {
    Sequence expected = *this;
    forward(pool);
    backward(pool);
    sequence_dsla_ref(expected.args());
    sequence_dsla_backward_ref(expected.backward_args());
    double worst = 0;
    for (auto part : {&Sequence::o_, &Sequence::dq_, &Sequence::dk_, &Sequence::dv_, &Sequence::dz_,
                      &Sequence::d_bias_, &Sequence::d_mix_}) {
      const std::vector<float>&a = this->*part, &b = expected.*part;
      double size = 0, difference = 0;
      for (std::size_t i = 0; i < a.size(); ++i) {
        size = std::fmax(size, std::abs(b[i]));
        difference = std::fmax(difference, std::abs(a[i] - b[i]));
      }
      worst = std::fmax(worst, difference / size);
    }
    return worst;
  }

  // Of the recurrence: a multiply-add on each element of both states for the update and for each query head's
  // output; backward: the states again, dk, dv, and for each query head dq and its part of dS.
  [[nodiscard]] double forward_operations() const { return per_token() * (shape_.n_heads + shape_.n_kv); }
  [[nodiscard]] double backward_operations() const {
    return per_token() * (2 * shape_.n_heads + 3 * shape_.n_kv);
  }
  // Every input read once and every output written once.
  [[nodiscard]] double forward_bytes() const {
    return bytes(q_) + bytes(k_) + bytes(v_) + bytes(z_) + bytes(o_);
  }
  [[nodiscard]] double backward_bytes() const { return 2 * (forward_bytes() - bytes(o_)) + bytes(d_o_); }

  [[nodiscard]] std::size_t workspace_bytes() const {
    return sequence_dsla_workspace_bytes(shape_, {&segment_, 1});
  }

 private:
  static std::vector<float> wave(std::int64_t count, float step) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) {
      values[static_cast<std::size_t>(i)] = std::sin(step * static_cast<float>(i % 10007));
    }
    return values;
  }
  static double bytes(const std::vector<float>& x) { return static_cast<double>(x.size() * sizeof(float)); }

  [[nodiscard]] double per_token() const {
    return 4.0 * shape_.d_k * shape_.d_v * static_cast<double>(segment_.rows);
  }
  [[nodiscard]] std::int64_t query_width() const { return std::int64_t{shape_.n_heads} * shape_.d_k; }
  [[nodiscard]] std::int64_t key_width() const { return std::int64_t{shape_.n_kv} * shape_.d_k; }

  kernels::SequenceDslaArgs args() {
    return {.shape = shape_,
            .q = q_.data(),
            .q_stride = query_width(),
            .k = k_.data(),
            .k_stride = key_width(),
            .v = v_.data(),
            .v_stride = key_width(),
            .z = z_.data(),
            .z_stride = 2 * key_width(),
            .gate_bias = bias_.data(),
            .mix = mix_.data(),
            .o = o_.data(),
            .o_stride = query_width(),
            .segments = {&segment_, 1}};
  }
  kernels::SequenceDslaBackwardArgs backward_args() {
    return {.forward = args(),
            .d_o = d_o_.data(),
            .dq = dq_.data(),
            .dq_stride = query_width(),
            .dk = dk_.data(),
            .dk_stride = key_width(),
            .dv = dv_.data(),
            .dv_stride = key_width(),
            .dz = dz_.data(),
            .dz_stride = 2 * key_width(),
            .d_gate_bias = d_bias_.data(),
            .d_mix = d_mix_.data()};
  }

  kernels::DslaShape shape_;
  Segment segment_;
  std::vector<float> q_, k_, v_, z_, bias_, mix_, d_o_, o_, dq_, dk_, dv_, dz_, d_bias_, d_mix_;
};

struct Limits {
  double flops, bandwidth;
};

struct Times {
  double forward, backward;  // seconds
};

Times time_sequence(const Shape& shape, std::int64_t rows, Limits limits, ThreadPool& pool) {
  Sequence sequence(shape, rows);
  const int repeats = rows > 8192 ? 2 : 4;
  Times times{best_step_seconds(pool, repeats, [&] { sequence.forward(pool); }),
              best_step_seconds(pool, repeats, [&] { sequence.backward(pool); })};
  const auto show = [&](const char* name, double seconds, double operations, double bytes) {
    fmt::print("  {} {:8.0f} ns/token {:6.1f} GFLOP/s {:3.0f}% {:5.1f} GB/s {:3.0f}%", name,
               seconds / static_cast<double>(rows) * 1e9, operations / seconds / 1e9,
               100 * operations / seconds / limits.flops, bytes / seconds / 1e9,
               100 * bytes / seconds / limits.bandwidth);
  };
  fmt::print("  {:5} tokens:", rows);
  show("forward", times.forward, sequence.forward_operations(), sequence.forward_bytes());
  show("backward", times.backward, sequence.backward_operations(), sequence.backward_bytes());
  return times;
}

// The slope of log seconds over log tokens by least squares: 1 is linear.
double fitted_exponent(const std::vector<std::int64_t>& tokens, const std::vector<double>& seconds) {
  double x = 0, y = 0, xx = 0, xy = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const double a = std::log(static_cast<double>(tokens[i])), b = std::log(seconds[i]);
    x += a;
    y += b;
    xx += a * a;
    xy += a * b;
  }
  const auto n = static_cast<double>(tokens.size());
  return (n * xy - x * y) / (n * xx - x * x);
}

void report_growth(const Shape& shape, Limits limits, ThreadPool& pool) {
  const std::vector<std::int64_t> tokens = {1024, 2048, 4096, 8192, 16384, 32768};
  std::vector<double> forward, both;
  for (const std::int64_t rows : tokens) {
    const std::size_t formula = Sequence(shape, rows).workspace_bytes();
    const Times times = time_sequence(shape, rows, limits, pool);
    forward.push_back(times.forward);
    both.push_back(times.forward + times.backward);
    fmt::print("  holds {:6.2f} MB, formula {:6.2f} MB\n", static_cast<double>(aligned_bytes) / 1e6,
               pool.size() * static_cast<double>(formula) / 1e6);
  }
  fmt::print("  time grows with tokens to the power {:.3f} forward, {:.3f} forward + backward\n",
             fitted_exponent(tokens, forward), fitted_exponent(tokens, both));
}

bool report(const Shape& shape, bool growth, ThreadPool& pool) {
  const double error = Sequence(shape, 150).error(pool);
  fmt::print("{}: {} query heads, {} KV heads of {}; error against the reference {:.1e}\n", shape.name,
             shape.n_heads, shape.n_kv, shape.d, error);
  if (!(error < 1e-4)) return false;
  const Limits limits{f32_peak(pool), read_bandwidth(pool)};
  if (growth) {
    report_growth(shape, limits, pool);
  } else {
    time_sequence(shape, 2048, limits, pool);
    fmt::print("\n");
  }
  return true;
}

}  // namespace
}  // namespace dslad::bench

int main(int argc, char** argv) {
  int threads = 1;
  CLI::App app("Training's DSLA on three models' shapes, beside the machine's limits.",
               "sequence_dsla_bench");
  app.add_option("--threads", threads, "CPU threads")->check(CLI::Range(1, 1024))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  dslad::kernels::ThreadPool pool(threads);
  fmt::print("{} thread(s)\n", threads);
  bool passed = true;
  for (const dslad::bench::Shape& shape : dslad::bench::kShapes) {
    passed = dslad::bench::report(shape, &shape == &dslad::bench::kShapes[0], pool) && passed;
  }
  return passed ? 0 : 1;
}
