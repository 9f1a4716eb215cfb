// window_attention.h on a CUDA device: a warp for each row and query head, then the rings.
//
// Keys are visited in blocks of 32 that begin at multiples of 32 tokens of the sequence, a key a lane; every
// sum runs in the order of keys. So a row is the same bit for bit whatever the cut into pieces, as on the
// CPU. Bound by the first level of the caches, where a group's keys are found again: a window is short. The
// ring's keys lie transposed, so lanes read them side by side.
#pragma once

#include <cmath>

#include "kernels/attention/cuda/window_on_device.h"
#include "kernels/cuda/reduce.h"

namespace dslad::kernels::cuda {

// WindowShape::slot_of().
DSLAD_DEVICE std::int64_t slot_of(const WindowShape& shape, std::int64_t token) {
  return token < shape.sinks ? token : shape.sinks + (token - shape.sinks) % shape.window;
}

// Where a token's key and value lie: in the ring or in the piece's own rows.
struct WindowToken {
  const float* key;
  std::int64_t key_channel;  // floats from channel to channel of the key
  const float* value;
  DSLAD_DEVICE WindowToken(const WindowAttentionArgs& args, const WindowPiece& piece, int kv_head,
                           std::int64_t token) {
    const std::int64_t d = args.shape.head_dim, slots = args.shape.window + args.shape.sinks;
    if (token >= piece.context) {
      const std::int64_t at = (piece.first_row + token - piece.context) * args.kv_stride + kv_head * d;
      key = args.k + at;
      key_channel = 1;
      value = args.v + at;
    } else {
      const std::int64_t slot = slot_of(args.shape, token);
      key = piece.ring + kv_head * d * slots + slot;
      key_channel = slots;
      value = piece.ring + ((args.shape.n_kv + kv_head) * slots + slot) * d;
    }
  }
};

struct AttendWindow {
  using Args = WindowOnDevice;
  static constexpr int kThreads = 128;
  static constexpr int kItems = kThreads / kWarp;  // rows and heads of a block
  static constexpr int kChannels = 256 / kWarp;    // of a lane, at most

  static Grid grid(const Args& step) {
    const std::int64_t items = step.most_rows * step.args.shape.n_heads;
    return {static_cast<std::int64_t>(step.args.pieces.size()) * ((items + kItems - 1) / kItems)};
  }

  static DSLAD_DEVICE void run(const Args& step) {
    const WindowAttentionArgs& args = step.args;
    const auto [n_heads, n_kv, d, window, sinks] = args.shape;
    const std::int64_t pieces = static_cast<std::int64_t>(args.pieces.size());
    const WindowPiece piece = args.pieces.data()[block_index().x % pieces];
    const std::int64_t item = block_index().x / pieces * kItems + thread_index() / kWarp;
    const std::int64_t r = item / n_heads, end = piece.context + r + 1;
    if (r >= piece.rows) return;  // the whole warp
    const int head = static_cast<int>(item % n_heads), kv_head = head / (n_heads / n_kv);
    const int lane = thread_index() % kWarp;
    const float* q = args.q + (piece.first_row + r) * args.q_stride + std::int64_t{head} * d;

    float largest = -INFINITY, sum = 0, values[kChannels] = {};
    const std::int64_t first = end > window ? end - window : 0, start = first / kWarp * kWarp;
    // Sinks that lie before the window's first block are one of their own.
    for (std::int64_t block = sinks > 0 ? 0 : start; block < end;
         block = block < start ? start : block + kWarp) {
      const std::int64_t token = block + lane;
      float score = -INFINITY;
      if (is_seen(token, first, end, sinks)) {
        const WindowToken at(args, piece, kv_head, token);
        score = 0;
        for (int c = 0; c < d; ++c) score += q[c] * at.key[c * at.key_channel];
        score *= args.scale;
      }
      const float former = largest;
      largest = larger(former, warp_max(score));
      const float factor = former == largest ? 1.0f : expf(former - largest);
      const float weight = score == -INFINITY ? 0.0f : expf(score - largest);
      sum = sum * factor + warp_sum(weight);
      for (float& value : values) value *= factor;
      for (int i = 0; i < kWarp; ++i) {
        const float p = shuffle(weight, i);
        if (!is_seen(block + i, first, end, sinks)) continue;
        const float* v = WindowToken(args, piece, kv_head, block + i).value;
        DSLAD_UNROLL for (int j = 0; j < kChannels; ++j) {
          if (j * kWarp + lane < d) values[j] += p * v[j * kWarp + lane];
        }
      }
    }
    float* o = args.o + (piece.first_row + r) * args.o_stride + std::int64_t{head} * d;
    DSLAD_UNROLL for (int j = 0; j < kChannels; ++j) {
      if (j * kWarp + lane < d) o[j * kWarp + lane] = values[j] / sum;
    }
  }

 private:
  static DSLAD_DEVICE bool is_seen(std::int64_t token, std::int64_t first, std::int64_t end,
                                   std::int64_t sinks) {
    return token < end && (token >= first || token < sinks);
  }
};

// Writes each piece's sinks and latest keys and values into its ring. A block has one token and KV head.
struct StoreWindow {
  using Args = WindowOnDevice;
  static constexpr int kThreads = 64;

  static Grid grid(const Args& step) {
    const WindowShape& shape = step.args.shape;
    const std::int64_t latest = step.most_rows < shape.window ? step.most_rows : shape.window;
    return {static_cast<std::int64_t>(step.args.pieces.size()) * (shape.sinks + latest), shape.n_kv};
  }

  static DSLAD_DEVICE void run(const Args& step) {
    const WindowAttentionArgs& args = step.args;
    const auto [n_heads, n_kv, d, window, sinks] = args.shape;
    const std::int64_t pieces = static_cast<std::int64_t>(args.pieces.size()), slots = window + sinks;
    const WindowPiece piece = args.pieces.data()[block_index().x % pieces];
    const std::int64_t item = block_index().x / pieces, end = piece.context + piece.rows;
    const bool is_sink = item < sinks && item < end - window;  // and not among the latest
    const std::int64_t token = is_sink ? item : end - 1 - (item - sinks);
    if (token < piece.context || token >= end) return;
    const int kv_head = static_cast<int>(block_index().y);
    const WindowToken from(args, piece, kv_head, token);
    const std::int64_t slot = slot_of(args.shape, token);
    float* keys = piece.ring + kv_head * d * slots + slot;
    float* values = piece.ring + ((n_kv + kv_head) * slots + slot) * d;
    for (std::int64_t c = thread_index(); c < d; c += kThreads) {
      keys[c * slots] = from.key[c];
      values[c] = from.value[c];
    }
  }
};

// The rings are written when all rows have been read: a piece's first rows see tokens whose slots its last
// ones take.
template <class Queue>
void window_attention(Queue& queue, const WindowOnDevice& step) {
  queue.template launch<AttendWindow>(step);
  queue.template launch<StoreWindow>(step);
}

}  // namespace dslad::kernels::cuda
