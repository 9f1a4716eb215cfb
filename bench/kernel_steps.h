// Model shapes and one step of attention or of DSLA over random data, for the benches of both.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/attention/window_attention.h"
#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/dsla/dsla.h"

namespace dslad::bench {

struct Shape {
  const char* name;
  int n_heads, n_kv, d;
};

inline constexpr Shape kShapes[] = {
    {"SmolLM2-135M", 9, 3, 64}, {"TinyLlama-1.1B", 32, 4, 64}, {"Llama-3-8B", 32, 8, 128}};

// `sequences` sequences that each append `rows` tokens.
class AttentionStep {
 public:
  // Each has `context` cached tokens in bf16 pages of its own.
  AttentionStep(const Shape& shape, int sequences, std::int64_t context, std::int64_t rows);

  void run(kernels::ThreadPool& pool) { kernels::attention_cpu(pool, args(o_)); }
  double error(kernels::ThreadPool& pool);  // largest difference from the reference

  [[nodiscard]] double bytes() const;       // of keys and values
  [[nodiscard]] double operations() const;  // two products of d multiply-adds per visible pair

 private:
  kernels::AttentionArgs args(std::vector<float>& o);

  Shape shape_;
  kernels::KvLayout layout_;
  std::int64_t pages_per_sequence_;
  kernels::AlignedBuffer memory_;
  std::vector<float> q_, k_, o_;
  std::vector<std::int32_t> pages_;
  std::vector<kernels::AttentionPiece> pieces_;
};

// The same with states instead of pages; the states change from run to run and stay bounded.
class DslaStep {
 public:
  DslaStep(const Shape& shape, int sequences, std::int64_t rows);

  void run(kernels::ThreadPool& pool) { kernels::dsla_cpu(pool, args(o_, states_)); }
  double error(kernels::ThreadPool& pool);  // largest difference from the reference, outputs and states

  [[nodiscard]] double bytes() const;       // of states read and written
  [[nodiscard]] double operations() const;  // of the recurrence: what no form can do without

 private:
  kernels::DslaArgs args(std::vector<float>& o, std::vector<float>& states);

  kernels::DslaShape shape_;
  std::int64_t rows_;  // of all sequences
  std::vector<float> q_, k_, z_, bias_, mix_, o_, states_;
  std::vector<kernels::DslaPiece> pieces_;
};

// The same with a window of exact attention, in the middle of long sequences.
class WindowStep {
 public:
  WindowStep(const Shape& shape, std::int64_t window, int sequences, std::int64_t rows);

  void run(kernels::ThreadPool& pool) { kernels::window_attention_cpu(pool, args(o_, rings_)); }
  double error(kernels::ThreadPool& pool);  // largest difference from the reference

 private:
  kernels::WindowAttentionArgs args(std::vector<float>& o, std::vector<float>& rings);

  kernels::WindowShape shape_;
  std::vector<float> q_, k_, o_, rings_;
  std::vector<kernels::WindowPiece> pieces_;
};

}  // namespace dslad::bench
