// Sequences with rings and one step's rows, for the tests of window attention.
//
// Slots that no token owns are NaN, rows of q, k, v and o are wider than they need to be, with NaN between
// them: whatever a kernel reads or writes astray shows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/attention/window_attention.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels::testing {

// What a call leaves behind.
struct WindowOutcome {
  std::vector<float> o;                   // [R, n_heads, d], row stride q_stride()
  std::vector<std::vector<float>> rings;  // by piece
};

class WindowWorld {
 public:
  explicit WindowWorld(WindowShape shape, std::uint64_t seed = 1) : shape_(shape), seed_(seed) {}

  // A sequence of `context` tokens that appends `rows` in the step, all random; returns its index.
  std::size_t add(std::int64_t context, std::int64_t rows, float scale = 1.0f) {
    std::vector<float>& ring = rings_.emplace_back(poisoned(static_cast<std::int64_t>(shape_.ring_floats())));
    const std::int64_t d = shape_.head_dim, slots = shape_.slots();
    for (std::int64_t plane = 0; plane < 2 * std::int64_t{shape_.n_kv}; ++plane) {
      const bool keys = plane < shape_.n_kv;  // [d, slots], and values [slots, d]
      for (std::int64_t token = 0; token < context; ++token) {
        if (token >= shape_.sinks && token < context - shape_.window) continue;
        const std::int64_t slot = shape_.slot_of(token);
        const auto channels = random_floats(d, ++seed_);
        for (std::int64_t j = 0; j < d; ++j) {
          ring[plane * slots * d + (keys ? j * slots + slot : slot * d + j)] = channels[j];
        }
      }
    }
    pieces_.push_back({rows_ + 1, rows, context, nullptr});
    append(q_, rows, std::int64_t{shape_.n_heads} * d, q_stride(), scale);
    append(k_, rows, std::int64_t{shape_.n_kv} * d, kv_stride(), scale);
    append(v_, rows, std::int64_t{shape_.n_kv} * d, kv_stride(), 1.0f);
    rows_ += rows + 1;
    return pieces_.size() - 1;
  }

  // Attends for the pieces of the sequences `which` only, each on a copy of its ring.
  [[nodiscard]] WindowOutcome run(ThreadPool& pool, const std::vector<std::size_t>& which) const {
    return run(which, [&](const WindowAttentionArgs& args) { window_attention_cpu(pool, args); });
  }
  [[nodiscard]] WindowOutcome run(int threads) const {
    ThreadPool pool(threads);
    return run(pool, all());
  }
  [[nodiscard]] WindowOutcome run_ref() const { return run_by(window_attention_ref); }
  // By another version of the operation: attend(args).
  template <class Attend>
  [[nodiscard]] WindowOutcome run_by(const Attend& attend) const {
    return run(all(), attend);
  }
  // The whole sequence `i` in pieces that end at `cuts`, one call a piece.
  [[nodiscard]] WindowOutcome run_cut(std::size_t i, const std::vector<std::int64_t>& cuts) const {
    ThreadPool pool(2);
    return run_cut_by([&](const WindowAttentionArgs& args) { window_attention_cpu(pool, args); }, i, cuts);
  }
  template <class Attend>
  [[nodiscard]] WindowOutcome run_cut_by(const Attend& attend, std::size_t i,
                                         const std::vector<std::int64_t>& cuts) const {
    WindowOutcome out{poisoned(rows_ * q_stride()), rings_};
    std::int64_t done = 0;
    for (const std::int64_t end : cuts) {
      WindowPiece piece = pieces_[i];
      piece.first_row += done;
      piece.context += done;
      piece.rows = end - done;
      piece.ring = out.rings[i].data();
      attend(args(out.o, {&piece, 1}));
      done = end;
    }
    return out;
  }

  // The rows of a sequence, packed.
  [[nodiscard]] std::vector<float> rows_of(const WindowOutcome& outcome, std::size_t i) const {
    std::vector<float> rows;
    for (std::int64_t r = 0; r < pieces_[i].rows; ++r) {
      const auto row = outcome.o.begin() + (pieces_[i].first_row + r) * q_stride();
      rows.insert(rows.end(), row, row + std::int64_t{shape_.n_heads} * shape_.head_dim);
    }
    return rows;
  }

  [[nodiscard]] std::size_t size() const { return pieces_.size(); }
  [[nodiscard]] const WindowPiece& piece(std::size_t i) const { return pieces_[i]; }
  [[nodiscard]] float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.head_dim)); }
  [[nodiscard]] std::int64_t q_stride() const { return std::int64_t{shape_.n_heads} * shape_.head_dim + 3; }
  [[nodiscard]] std::int64_t kv_stride() const { return std::int64_t{shape_.n_kv} * shape_.head_dim + 5; }
  [[nodiscard]] const std::vector<float>& q() const { return q_; }
  [[nodiscard]] const std::vector<float>& k() const { return k_; }
  [[nodiscard]] const std::vector<float>& v() const { return v_; }

 private:
  [[nodiscard]] std::vector<std::size_t> all() const {
    std::vector<std::size_t> which;
    for (std::size_t i = 0; i < pieces_.size(); ++i) which.push_back(i);
    return which;
  }

  template <class Attend>
  [[nodiscard]] WindowOutcome run(const std::vector<std::size_t>& which, const Attend& attend) const {
    WindowOutcome out{poisoned(rows_ * q_stride()), rings_};
    std::vector<WindowPiece> pieces;
    for (const std::size_t i : which) {
      pieces.push_back(pieces_[i]);
      pieces.back().ring = out.rings[i].data();
    }
    attend(args(out.o, pieces));
    return out;
  }

  WindowAttentionArgs args(std::vector<float>& o, std::span<const WindowPiece> pieces) const {
    return {shape_,      q_.data(), q_stride(), k_.data(), v_.data(),
            kv_stride(), o.data(),  q_stride(), scale(),   pieces};
  }

  // A row of NaN, then `rows` random ones.
  void append(std::vector<float>& to, std::int64_t rows, std::int64_t width, std::int64_t stride,
              float scale) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    to.resize(to.size() + static_cast<std::size_t>(stride), nan);
    for (std::int64_t r = 0; r < rows; ++r) {
      const auto row = random_floats(width, ++seed_, scale);
      to.insert(to.end(), row.begin(), row.end());
      to.resize(to.size() + static_cast<std::size_t>(stride - width), nan);
    }
  }

  WindowShape shape_;
  std::uint64_t seed_;
  std::int64_t rows_ = 0;
  std::vector<float> q_, k_, v_;
  std::vector<std::vector<float>> rings_;
  std::vector<WindowPiece> pieces_;  // without their rings: each run has copies
};

}  // namespace dslad::kernels::testing
