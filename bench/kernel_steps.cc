#include "bench/kernel_steps.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>

namespace dslad::bench {
namespace {

using kernels::kPageTokens;

std::vector<float> random_floats(std::int64_t count) {
  static std::minstd_rand generator(1);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& x : values) x = uniform(generator);
  return values;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::abs(double{a[i]} - double{b[i]}));
  return largest;
}

}  // namespace

AttentionStep::AttentionStep(const Shape& shape, int sequences, std::int64_t context, std::int64_t rows)
    : shape_(shape),
      layout_(kernels::layout_for_attention_cpu({kernels::DType::kBf16, shape.n_kv, shape.d})),
      pages_per_sequence_((context + rows + kPageTokens - 1) / kPageTokens),
      memory_(kernels::allocate_aligned(static_cast<std::size_t>(sequences * pages_per_sequence_) *
                                        layout_.page_bytes())),
      q_(random_floats(sequences * rows * shape.n_heads * shape.d)),
      k_(random_floats(sequences * rows * shape.n_kv * shape.d)),
      o_(q_.size()) {
  for (std::int32_t page = 0; page < sequences * pages_per_sequence_; ++page) pages_.push_back(page);
  std::minstd_rand generator(2);
  auto* values = reinterpret_cast<kernels::bf16*>(memory_.get());
  const std::size_t count = pages_.size() * layout_.page_bytes() / sizeof(kernels::bf16);
  for (std::size_t i = 0; i < count; ++i) {
    values[i].bits = static_cast<std::uint16_t>(0x3c00 + generator() % 512);  // 0.008 to 0.1
  }
  for (int s = 0; s < sequences; ++s) {
    pieces_.push_back({s * rows, rows, context, pages_.data() + s * pages_per_sequence_});
  }
}

kernels::AttentionArgs AttentionStep::args(std::vector<float>& o) {
  const std::int64_t q_stride = std::int64_t{shape_.n_heads} * shape_.d;
  const std::int64_t kv_stride = std::int64_t{shape_.n_kv} * shape_.d;
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape_.d));
  return {q_.data(), q_stride,       k_.data(), k_.data(),     kv_stride, o.data(),
          q_stride,  shape_.n_heads, scale,     memory_.get(), layout_,   pieces_};
}

double AttentionStep::error(kernels::ThreadPool& pool) {
  std::vector<float> expected(o_.size());
  kernels::attention_ref(args(expected));
  run(pool);
  return largest_difference(o_, expected);
}

double AttentionStep::bytes() const {
  return static_cast<double>(pages_.size()) * static_cast<double>(layout_.page_bytes());
}

double AttentionStep::operations() const {
  const auto rows = static_cast<double>(pieces_[0].rows);
  const double pairs = rows * (static_cast<double>(pieces_[0].context) + (rows + 1) / 2);
  return 4.0 * shape_.d * shape_.n_heads * pairs * static_cast<double>(pieces_.size());
}

DslaStep::DslaStep(const Shape& shape, int sequences, std::int64_t rows)
    : shape_{shape.n_heads, shape.n_kv, shape.d, shape.d},
      rows_(sequences * rows),
      q_(random_floats(rows_ * shape.n_heads * shape.d)),
      k_(random_floats(rows_ * shape.n_kv * shape.d)),
      z_(random_floats(rows_ * 2 * shape.n_kv * shape.d)),
      bias_(random_floats(std::int64_t{2} * shape.n_kv * shape.d)),
      mix_(std::size_t{2} * static_cast<std::size_t>(shape.n_heads), 0.5f),
      o_(q_.size()),
      states_(random_floats(sequences * static_cast<std::int64_t>(shape_.state_floats()))) {
  for (int s = 0; s < sequences; ++s) pieces_.push_back({s * rows, rows, nullptr});
}

kernels::DslaArgs DslaStep::args(std::vector<float>& o, std::vector<float>& states) {
  for (std::size_t s = 0; s < pieces_.size(); ++s) {
    pieces_[s].state = states.data() + s * shape_.state_floats();
  }
  const std::int64_t q_stride = std::int64_t{shape_.n_heads} * shape_.d_k;
  const std::int64_t kv_stride = std::int64_t{shape_.n_kv} * shape_.d_k;
  return {shape_,    q_.data(),     q_stride,     k_.data(),   kv_stride, k_.data(), kv_stride,
          z_.data(), 2 * kv_stride, bias_.data(), mix_.data(), o.data(),  q_stride,  pieces_};
}

double DslaStep::error(kernels::ThreadPool& pool) {
  std::vector<float> expected(o_.size());
  std::vector<float> expected_states = states_;
  kernels::dsla_ref(args(expected, expected_states));
  run(pool);
  return std::max(largest_difference(o_, expected), largest_difference(states_, expected_states));
}

double DslaStep::bytes() const {
  return 2.0 * static_cast<double>(states_.size()) * sizeof(float);
}

double DslaStep::operations() const {
  const double head = 2.0 * 2.0 * shape_.d_k * shape_.d_v;  // two states, one multiply-add an element
  return static_cast<double>(rows_) * head * (shape_.n_heads + shape_.n_kv);
}

WindowStep::WindowStep(const Shape& shape, std::int64_t window, int sequences, std::int64_t rows)
    : shape_{shape.n_heads, shape.n_kv, shape.d, window},
      q_(random_floats(sequences * rows * shape.n_heads * shape.d)),
      k_(random_floats(sequences * rows * shape.n_kv * shape.d)),
      o_(q_.size()),
      rings_(random_floats(sequences * static_cast<std::int64_t>(shape_.ring_floats()))) {
  for (int s = 0; s < sequences; ++s) pieces_.push_back({s * rows, rows, 1000, nullptr});
}

kernels::WindowAttentionArgs WindowStep::args(std::vector<float>& o, std::vector<float>& rings) {
  for (std::size_t s = 0; s < pieces_.size(); ++s) pieces_[s].ring = rings.data() + s * shape_.ring_floats();
  const std::int64_t q_stride = std::int64_t{shape_.n_heads} * shape_.head_dim;
  const std::int64_t kv_stride = std::int64_t{shape_.n_kv} * shape_.head_dim;
  return {shape_, q_.data(), q_stride, k_.data(), k_.data(), kv_stride, o.data(), q_stride, 0.125f, pieces_};
}

double WindowStep::error(kernels::ThreadPool& pool) {
  std::vector<float> expected(o_.size());
  std::vector<float> rings = rings_;
  kernels::window_attention_ref(args(expected, rings));
  run(pool);
  return largest_difference(o_, expected);
}

}  // namespace dslad::bench
