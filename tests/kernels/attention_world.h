// Sequences with paged caches and one step's rows, for the attention tests.
//
// Every byte of the pool that no token owns is NaN, page numbers are scattered, and rows of q, k, v and o are
// wider than they need to be, with NaN between them: whatever a kernel reads or writes astray shows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <list>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels::testing {

struct AttentionShape {
  int n_heads, n_kv, d;
  DType dtype;
  bool pairs = false;
};

class AttentionWorld {
 public:
  explicit AttentionWorld(AttentionShape shape, std::uint64_t seed = 1, int pages = 400)
      : shape_(shape),
        layout_{shape.dtype, shape.n_kv, shape.d, shape.pairs},
        generator_(seed),
        free_(pages) {
    std::iota(free_.begin(), free_.end(), 0);
    std::ranges::shuffle(free_, generator_);
    pool_.assign(static_cast<std::size_t>(pages) * layout_.page_bytes(), std::byte{0xff});
  }

  // A sequence of `context` cached random tokens that appends `rows` random ones in the step; returns its
  // index. Its first pages may be those of another sequence.
  std::size_t add(std::int64_t context, std::int64_t rows, const std::vector<std::int32_t>& shared = {},
                  float scale = 1.0f) {
    std::vector<std::int32_t>& pages = pages_.emplace_back(shared);
    while (static_cast<std::int64_t>(pages.size()) * kPageTokens < context + rows) {
      pages.push_back(free_.back());
      free_.pop_back();
    }
    const auto first = static_cast<std::int64_t>(shared.size()) * kPageTokens;
    for (std::int64_t token = first; token < context; ++token) cache_random(pages, token);
    pieces_.push_back({rows_ + gap_, rows, context, pages.data()});
    for (std::int64_t r = 0; r < rows + gap_; ++r) add_row(r >= gap_ ? scale : nan());
    return pieces_.size() - 1;
  }

  // Tokens that each query sees; 0: all.
  void see(std::int64_t window) { window_ = window; }

  // Overwrites the rows of one sequence by those of another world's.
  void copy_rows(std::size_t piece, const AttentionWorld& from, std::int64_t from_row) {
    const AttentionPiece& to = pieces_[piece];
    std::copy_n(from.q_.begin() + from_row * q_stride(), to.rows * q_stride(),
                q_.begin() + to.first_row * q_stride());
    std::copy_n(from.k_.begin() + from_row * kv_stride(), to.rows * kv_stride(),
                k_.begin() + to.first_row * kv_stride());
    std::copy_n(from.v_.begin() + from_row * kv_stride(), to.rows * kv_stride(),
                v_.begin() + to.first_row * kv_stride());
  }

  // Gives keys of later rows larger scores with any query of positive sum: by `step` a row.
  void raise_keys(float step) {
    for (float& x : q_) x = std::abs(x);
    for (std::int64_t row = 0; row < rows_; ++row) {
      float* const k = k_.data() + row * kv_stride();
      for (std::int64_t j = 0; j < std::int64_t{shape_.n_kv} * shape_.d; ++j)
        k[j] += step * static_cast<float>(row) / 100;
    }
  }

  // Runs attention over the given pieces only; o is fresh poison.
  std::vector<float> run(ThreadPool& pool, std::span<const AttentionPiece> pieces) {
    return run_by([&](const AttentionArgs& args) { attention_cpu(pool, args); }, pieces);
  }
  std::vector<float> run_ref(std::span<const AttentionPiece> pieces) { return run_by(attention_ref, pieces); }
  // By another version of the operation: attend(args).
  template <class Attend>
  std::vector<float> run_by(const Attend& attend, std::span<const AttentionPiece> pieces) {
    std::vector<float> o = poisoned(rows_ * q_stride());
    attend(args(o, pieces));
    return o;
  }
  std::vector<float> run(int threads) {
    ThreadPool pool(threads);
    return run(pool, pieces_);
  }
  std::vector<float> run_ref() { return run_ref(pieces_); }

  // The rows of a piece, packed.
  [[nodiscard]] std::vector<float> rows_of(const std::vector<float>& o, const AttentionPiece& piece) const {
    std::vector<float> rows;
    for (std::int64_t r = 0; r < piece.rows; ++r) {
      const auto row = o.begin() + (piece.first_row + r) * q_stride();
      rows.insert(rows.end(), row, row + std::int64_t{shape_.n_heads} * shape_.d);
    }
    return rows;
  }

  [[nodiscard]] const std::vector<AttentionPiece>& pieces() const { return pieces_; }
  [[nodiscard]] const std::vector<std::int32_t>& pages(std::size_t piece) const {
    return *std::next(pages_.begin(), static_cast<std::ptrdiff_t>(piece));
  }
  [[nodiscard]] std::vector<std::byte>& pool() { return pool_; }
  [[nodiscard]] const KvLayout& layout() const { return layout_; }
  [[nodiscard]] float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.d)); }
  [[nodiscard]] std::int64_t q_stride() const { return std::int64_t{shape_.n_heads} * shape_.d + 3; }
  [[nodiscard]] std::int64_t kv_stride() const { return std::int64_t{shape_.n_kv} * shape_.d + 5; }
  [[nodiscard]] const std::vector<float>& q() const { return q_; }
  [[nodiscard]] const std::vector<float>& k() const { return k_; }
  [[nodiscard]] const std::vector<float>& v() const { return v_; }

 private:
  static float nan() { return std::numeric_limits<float>::quiet_NaN(); }

  AttentionArgs args(std::vector<float>& o, std::span<const AttentionPiece> pieces) {
    return {q_.data(),      q_stride(), k_.data(),    v_.data(), kv_stride(), o.data(), q_stride(),
            shape_.n_heads, scale(),    pool_.data(), layout_,   pieces,      window_};
  }

  void add_row(float scale) {
    std::normal_distribution<float> normal(0.0f, 1.0f);
    const auto append = [&](std::vector<float>& to, std::int64_t width, std::int64_t stride, float factor) {
      for (std::int64_t j = 0; j < width; ++j) to.push_back(factor * normal(generator_));
      to.resize(to.size() + static_cast<std::size_t>(stride - width), nan());
    };
    append(q_, std::int64_t{shape_.n_heads} * shape_.d, q_stride(), scale);
    append(k_, std::int64_t{shape_.n_kv} * shape_.d, kv_stride(), scale);
    append(v_, std::int64_t{shape_.n_kv} * shape_.d, kv_stride(), 1.0f);
    ++rows_;
  }

  void set(std::int32_t page, std::int64_t offset, float x) {
    std::byte* base = pool_.data() + static_cast<std::size_t>(page) * layout_.page_bytes();
    if (shape_.dtype == DType::kF32) {
      std::memcpy(base + offset * 4, &x, 4);
    } else {
      const bf16 rounded = kernels::to_bf16(x);
      std::memcpy(base + offset * 2, &rounded, 2);
    }
  }

  void cache_random(const std::vector<std::int32_t>& pages, std::int64_t token) {
    std::normal_distribution<float> normal(0.0f, 1.0f);
    const std::int32_t page = pages[static_cast<std::size_t>(token / kPageTokens)];
    for (int head = 0; head < shape_.n_kv; ++head) {
      for (int j = 0; j < shape_.d; ++j) {
        set(page, layout_.k_offset(head, token % kPageTokens, j), normal(generator_));
        set(page, layout_.v_offset(head, token % kPageTokens, j), normal(generator_));
      }
    }
  }

  AttentionShape shape_;
  KvLayout layout_;
  std::mt19937_64 generator_;
  std::vector<std::int32_t> free_;
  std::int64_t window_ = 0;
  std::int64_t gap_ = 1;  // NaN rows before each piece, of no sequence
  std::int64_t rows_ = 0;
  std::vector<float> q_, k_, v_;
  std::list<std::vector<std::int32_t>> pages_;  // a list: pieces point into its elements
  std::vector<AttentionPiece> pieces_;
  std::vector<std::byte> pool_;
};

}  // namespace dslad::kernels::testing
