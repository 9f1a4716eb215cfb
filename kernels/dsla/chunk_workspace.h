// Where the chunk form keeps its intermediate matrices. Internal to kernels/dsla.
//
// c = kDslaSubBlock, C tokens a chunk, G query heads a group. Queries and keys hold all states side by
// side (W channels, 2 d_k of two states): one product of them gives the ONE score matrix that the states
// share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/cpu/workspace.h"
#include "kernels/dsla/dsla.h"

namespace dslad::kernels {

class ChunkWorkspace {
 public:
  static std::int64_t floats(const DslaShape& shape, std::int64_t chunk) {
    return ChunkWorkspace(shape, chunk, nullptr).size_;
  }

  ChunkWorkspace(const DslaShape& shape, std::int64_t chunk, float* memory)
      : d_k_(shape.d_k),
        d_v_(shape.d_v),
        channels_(shape.channels()),
        chunk_(chunk),
        queries_(kDslaSubBlock * (shape.n_heads / shape.n_kv)) {
    for (auto [part, count] : {std::pair{&gates_, kDslaSubBlock * channels_},
                               {&log_sums_, channels_},
                               {&anchors_, channels_},
                               {&decay_, d_k_},
                               {&key_row_, d_k_},
                               {&scaled_, queries_ * channels_},
                               {&near_, queries_ * channels_},
                               {&far_, queries_ * channels_},
                               {&decayed_, channels_ * kDslaSubBlock},
                               {&keys_, channels_ * chunk_},
                               {&scores_, queries_ * chunk_},
                               {&out_, queries_ * d_v_}}) {
      *part = at_float(memory, size_);
      size_ += (count + kAlignment - 1) / kAlignment * kAlignment;
    }
  }

  void start_chunk() {
    std::fill_n(log_sums_, channels_, 0.0f);
    std::fill_n(anchors_, channels_, 1.0f);
  }

  [[nodiscard]] std::int64_t chunk() const { return chunk_; }  // C

  // [c][W] a_i of the sub-block's tokens.
  [[nodiscard]] float* gate(int i, std::int64_t t) const { return gates_ + t * channels_ + i * d_k_; }
  // [d_k] sum of log a_i over the chunk so far, and its exponential at the sub-block's start.
  [[nodiscard]] float* log_sum(int i) const { return log_sums_ + i * d_k_; }
  [[nodiscard]] float* anchor(int i) const { return anchors_ + i * d_k_; }
  [[nodiscard]] float* decay() const { return decay_; }      // [d_k] a running product
  [[nodiscard]] float* key_row() const { return key_row_; }  // [d_k] a key on its way to `keys`
  // [c * G][W] queries times s mix_i; near: decayed from the sub-block's start;
  // far: from the chunk's. Row stride W.
  [[nodiscard]] float* scaled(int i, std::int64_t row) const { return scaled_ + row * channels_ + i * d_k_; }
  [[nodiscard]] float* near(int i, std::int64_t row) const { return near_ + row * channels_ + i * d_k_; }
  [[nodiscard]] float* far(int i, std::int64_t row) const { return far_ + row * channels_ + i * d_k_; }
  // [W][c] keys of the sub-block decayed to the token at hand.
  [[nodiscard]] float* decayed(int i, std::int64_t channel) const {
    return decayed_ + (i * d_k_ + channel) * kDslaSubBlock;
  }
  // [W][C] keys of the chunk so far decayed to the anchor.
  [[nodiscard]] float* keys(std::int64_t channel) const { return keys_ + channel * chunk_; }
  [[nodiscard]] float* scores(std::int64_t row) const { return scores_ + row * chunk_; }  // [c * G][C]
  [[nodiscard]] float* out(std::int64_t row) const { return out_ + row * d_v_; }          // [c * G][d_v]

 private:
  static constexpr std::int64_t kAlignment = 16;  // floats: one cache line
  std::int64_t d_k_, d_v_, channels_, chunk_, queries_;
  std::int64_t size_ = 0;
  float *gates_ = nullptr, *log_sums_ = nullptr, *anchors_ = nullptr, *decay_ = nullptr, *key_row_ = nullptr,
        *scaled_ = nullptr, *near_ = nullptr, *far_ = nullptr, *decayed_ = nullptr, *keys_ = nullptr,
        *scores_ = nullptr, *out_ = nullptr;
};

}  // namespace dslad::kernels
