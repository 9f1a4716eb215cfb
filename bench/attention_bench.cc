// Attention over paged keys: decode against the memory's read bandwidth, prefill against the float32 peak.
//
//     build/release/bin/attention_bench            # one and two threads
//
// Each shape is first compared with the reference on a short context; a kernel that fails is not timed.
#include <cmath>
#include <cstdint>
#include <fmt/core.h>
#include <random>
#include <vector>

#include "bench/peaks.h"
#include "kernels/attention/attention.h"
#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/thread_pool.h"

namespace dslad::bench {
namespace {

using namespace dslad::kernels;

struct Shape {
  const char* name;
  int n_heads, n_kv, d;
};

constexpr Shape kShapes[] = {
    {"SmolLM2-135M", 9, 3, 64}, {"TinyLlama-1.1B", 32, 4, 64}, {"Llama-3-8B", 32, 8, 128}};

std::vector<float> random_floats(std::int64_t count) {
  static std::minstd_rand generator(1);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& x : values) x = uniform(generator);
  return values;
}

// `sequences` sequences of `context` cached tokens that each append `rows`, in bf16 pages of their own.
class Step {
 public:
  Step(const Shape& shape, int sequences, std::int64_t context, std::int64_t rows)
      : shape_(shape),
        layout_{DType::kBf16, shape.n_kv, shape.d},
        pages_per_sequence_((context + rows + kPageTokens - 1) / kPageTokens),
        memory_(allocate_aligned(static_cast<std::size_t>(sequences * pages_per_sequence_) *
                                 layout_.page_bytes())),
        q_(random_floats(sequences * rows * shape.n_heads * shape.d)),
        k_(random_floats(sequences * rows * shape.n_kv * shape.d)),
        o_(q_.size()) {
    for (std::int32_t page = 0; page < sequences * pages_per_sequence_; ++page) pages_.push_back(page);
    std::minstd_rand generator(2);
    auto* values = reinterpret_cast<bf16*>(memory_.get());
    const std::size_t count = pages_.size() * layout_.page_bytes() / sizeof(bf16);
    for (std::size_t i = 0; i < count; ++i)
      values[i].bits = static_cast<std::uint16_t>(0x3c00 + generator() % 512);
    for (int s = 0; s < sequences; ++s) {
      pieces_.push_back({s * rows, rows, context, pages_.data() + s * pages_per_sequence_});
    }
  }

  void run(ThreadPool& pool) { attention_cpu(pool, args(o_)); }

  // The largest difference from the reference.
  double error(ThreadPool& pool) {
    std::vector<float> expected(o_.size());
    attention_ref(args(expected));
    run(pool);
    double largest = 0;
    for (std::size_t i = 0; i < o_.size(); ++i)
      largest = std::max<double>(largest, std::abs(o_[i] - expected[i]));
    return largest;
  }

  [[nodiscard]] double bytes() const {
    return static_cast<double>(pages_.size()) * static_cast<double>(layout_.page_bytes());
  }
  [[nodiscard]] double operations() const {  // two products of d multiply-adds per visible pair
    const AttentionPiece& piece = pieces_[0];
    const double pairs =
        static_cast<double>(piece.rows) * (static_cast<double>(piece.context) + (piece.rows + 1) / 2.0);
    return 4.0 * shape_.d * shape_.n_heads * pairs * static_cast<double>(pieces_.size());
  }

 private:
  AttentionArgs args(std::vector<float>& o) {
    const std::int64_t q_stride = std::int64_t{shape_.n_heads} * shape_.d;
    return {q_.data(),
            q_stride,
            k_.data(),
            k_.data(),
            std::int64_t{shape_.n_kv} * shape_.d,
            o.data(),
            q_stride,
            shape_.n_heads,
            1.0f / std::sqrt(static_cast<float>(shape_.d)),
            memory_.get(),
            layout_,
            pieces_};
  }

  Shape shape_;
  KvLayout layout_;
  std::int64_t pages_per_sequence_;
  AlignedBuffer memory_;
  std::vector<float> q_, k_, o_;
  std::vector<std::int32_t> pages_;
  std::vector<AttentionPiece> pieces_;
};

bool checks(const Shape& shape, ThreadPool& pool) {
  const double error = std::max(Step(shape, 2, 600, 1).error(pool), Step(shape, 1, 100, 64).error(pool));
  fmt::print("{}: {} query heads, {} KV heads of {}; error against the reference {:.1e}\n", shape.name,
             shape.n_heads, shape.n_kv, shape.d, error);
  return error < 1e-5;
}

void time_decode(const Shape& shape, int sequences, std::int64_t context, double limit, ThreadPool& pool) {
  Step step(shape, sequences, context, 1);
  const double seconds = best_seconds(20, [&] { step.run(pool); });
  const double rate = step.bytes() / seconds;
  fmt::print("  decode  {:3} x {:5} tokens {:9.3f} ms  {:6.1f} GB/s of {:5.1f} read   {:4.0f}%\n", sequences,
             context, seconds * 1e3, rate / 1e9, limit / 1e9, 100 * rate / limit);
}

void time_prefill(const Shape& shape, std::int64_t context, double limit, ThreadPool& pool) {
  Step step(shape, 1, context, 128);
  const double seconds = best_seconds(10, [&] { step.run(pool); });
  const double rate = step.operations() / seconds;
  fmt::print("  prefill 128 after {:5}    {:9.3f} ms  {:6.1f} GFLOP/s of {:5.1f}     {:4.0f}%\n", context,
             seconds * 1e3, rate / 1e9, limit / 1e9, 100 * rate / limit);
}

int run() {
  for (const Shape& shape : kShapes) {
    for (const int threads : {1, 2}) {
      ThreadPool pool(threads);
      fmt::print("{} thread(s), ", threads);
      if (!checks(shape, pool)) return 1;
      const double bandwidth = read_bandwidth(pool);
      time_decode(shape, 1, 16384, bandwidth, pool);
      time_decode(shape, 32, 2048, bandwidth, pool);
      const double peak = f32_peak(pool);
      for (const std::int64_t context : {0, 1024, 8192}) time_prefill(shape, context, peak, pool);
    }
  }
  return 0;
}

}  // namespace
}  // namespace dslad::bench

int main() {
  return dslad::bench::run();
}
