// sequence_attention_bench [--threads N]: training's attention, forward and backward, against the float32
// peak.
//
// Each shape is first compared with the reference on a short batch; a kernel that fails is not timed.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <fmt/core.h>
#include <string>
#include <vector>

#include "bench/kernel_steps.h"
#include "bench/peaks.h"
#include "kernels/attention/sequence_attention.h"

namespace dslad::bench {
namespace {

using kernels::Segment;
using kernels::ThreadPool;

// A packed batch of random rows and the results of both passes.
class Batch {
 public:
  Batch(const Shape& shape, std::vector<Segment> segments) : shape_(shape), segments_(std::move(segments)) {
    const auto rows = static_cast<std::size_t>(segments_.back().first_row + segments_.back().rows);
    const std::size_t query_width = static_cast<std::size_t>(shape_.n_heads) * shape_.d;
    const std::size_t key_width = static_cast<std::size_t>(shape_.n_kv) * shape_.d;
    for (std::vector<float>* x : {&q_, &d_o_}) *x = wave(rows * query_width, 0.37f);
    for (std::vector<float>* x : {&k_, &v_}) *x = wave(rows * key_width, 0.61f);
    for (std::vector<float>* x : {&o_, &dq_}) x->resize(rows * query_width);
    for (std::vector<float>* x : {&dk_, &dv_}) x->resize(rows * key_width);
    lse_.resize(rows * static_cast<std::size_t>(shape_.n_heads));
    entropy_ = lse_;
  }

  void forward(ThreadPool& pool) { sequence_attention_cpu(pool, args()); }
  void backward(ThreadPool& pool) { sequence_attention_backward_cpu(pool, backward_args()); }

  // Largest difference from the reference, of all results.
  double error(ThreadPool& pool) {
    forward(pool);
    backward(pool);
    Batch expected = *this;
    sequence_attention_ref(expected.args());
    sequence_attention_backward_ref(expected.backward_args());
    double worst = 0;
    const auto compare = [&](const std::vector<float>& a, const std::vector<float>& b) {
      for (std::size_t i = 0; i < a.size(); ++i) worst = std::fmax(worst, std::abs(a[i] - b[i]));
    };
    compare(o_, expected.o_);
    compare(entropy_, expected.entropy_);
    compare(dq_, expected.dq_);
    compare(dk_, expected.dk_);
    compare(dv_, expected.dv_);
    return worst;
  }

  // Two products of d multiply-adds for each pair that attention looks at; backward has five.
  [[nodiscard]] double forward_operations() const {
    double pairs = 0;
    for (const Segment& segment : segments_) {
      const auto rows = static_cast<double>(segment.rows);
      pairs += rows * (rows + 1) / 2;
      if (segment.parent >= 0) {
        pairs += rows * static_cast<double>(segments_[static_cast<std::size_t>(segment.parent)].rows);
      }
    }
    return 4.0 * pairs * shape_.n_heads * shape_.d;
  }
  [[nodiscard]] double backward_operations() const { return 2.5 * forward_operations(); }

 private:
  static std::vector<float> wave(std::size_t count, float step) {
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i) values[i] = std::sin(step * static_cast<float>(i % 10007));
    return values;
  }

  kernels::SequenceAttentionArgs args() {
    const std::int64_t query_width = std::int64_t{shape_.n_heads} * shape_.d;
    return {.n_heads = shape_.n_heads,
            .n_kv = shape_.n_kv,
            .head_dim = shape_.d,
            .scale = 1.0f / std::sqrt(static_cast<float>(shape_.d)),
            .window = 0,
            .q = q_.data(),
            .q_stride = query_width,
            .k = k_.data(),
            .v = v_.data(),
            .kv_stride = std::int64_t{shape_.n_kv} * shape_.d,
            .o = o_.data(),
            .o_stride = query_width,
            .lse = lse_.data(),
            .entropy = entropy_.data(),
            .segments = segments_};
  }
  kernels::SequenceAttentionBackwardArgs backward_args() {
    return {.forward = args(),
            .d_o = d_o_.data(),
            .dq = dq_.data(),
            .dq_stride = std::int64_t{shape_.n_heads} * shape_.d,
            .dk = dk_.data(),
            .dv = dv_.data(),
            .dkv_stride = std::int64_t{shape_.n_kv} * shape_.d};
  }

  Shape shape_;
  std::vector<Segment> segments_;
  std::vector<float> q_, k_, v_, d_o_, o_, lse_, entropy_, dq_, dk_, dv_;
};

std::vector<Segment> equal_segments(int count, std::int64_t rows) {
  std::vector<Segment> segments(static_cast<std::size_t>(count), {0, rows});
  for (int i = 0; i < count; ++i) segments[static_cast<std::size_t>(i)].first_row = i * rows;
  return segments;
}

std::vector<Segment> document_with_questions(std::int64_t rows, int questions, std::int64_t question_rows) {
  std::vector<Segment> segments(static_cast<std::size_t>(questions) + 1, {0, question_rows, 0});
  segments[0] = {0, rows};
  for (int i = 0; i < questions; ++i) {
    segments[static_cast<std::size_t>(i) + 1].first_row = rows + i * question_rows;
  }
  return segments;
}

void time_batch(const Shape& shape, const std::string& name, const std::vector<Segment>& segments,
                double peak, ThreadPool& pool) {
  Batch batch(shape, segments);
  const double forward =
      batch.forward_operations() / best_step_seconds(pool, 5, [&] { batch.forward(pool); });
  const double backward =
      batch.backward_operations() / best_step_seconds(pool, 5, [&] { batch.backward(pool); });
  fmt::print("  {:24} forward {:6.1f} GFLOP/s {:3.0f}%   backward {:6.1f} {:3.0f}%   of {:5.1f}\n", name,
             forward / 1e9, 100 * forward / peak, backward / 1e9, 100 * backward / peak, peak / 1e9);
}

bool report(const Shape& shape, ThreadPool& pool) {
  const double error = Batch(shape, document_with_questions(100, 2, 30)).error(pool);
  fmt::print("{}: {} query heads, {} KV heads of {}; error against the reference {:.1e}\n", shape.name,
             shape.n_heads, shape.n_kv, shape.d, error);
  if (!(error < 1e-4)) return false;
  const double peak = f32_peak(pool);
  time_batch(shape, "16 x 128 tokens", equal_segments(16, 128), peak, pool);
  time_batch(shape, "4 x 512 tokens", equal_segments(4, 512), peak, pool);
  time_batch(shape, "2048 tokens", equal_segments(1, 2048), peak, pool);
  time_batch(shape, "1024 tokens + 8 x 64", document_with_questions(1024, 8, 64), peak, pool);
  return true;
}

}  // namespace
}  // namespace dslad::bench

int main(int argc, char** argv) {
  int threads = 1;
  CLI::App app("Training's attention on three models' shapes, beside the machine's limit.",
               "sequence_attention_bench");
  app.add_option("--threads", threads, "CPU threads")->check(CLI::Range(1, 1024))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  dslad::kernels::ThreadPool pool(threads);
  fmt::print("{} thread(s)\n", threads);
  const auto passes = [&](const dslad::bench::Shape& shape) { return dslad::bench::report(shape, pool); };
  return std::ranges::all_of(dslad::bench::kShapes, passes) ? 0 : 1;
}
