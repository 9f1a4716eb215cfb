// A block of tokens with one anchor. With b_t the sum of log a from the block's start to t, and a = b / 2 at
// its end, every factor is between e^-|a| and e^|a|:
//
//   near = s mix_i q exp(b_t - a)    keys = k exp(a - b_u)    S_i <- exp(a) S_i
//   o    = sum_i near S_i + A v      A_tu = near_t . keys_u,  u <= t
//   S_i  <- exp(a) (S_i + keys^T v)
//
// so that three products have one left operand, and two have the same keys.
#include "kernels/dsla/dsla_chunk_amx.h"

#include "kernels/cpu/amx.h"
#include "kernels/cpu/amx_parts.h"
#include "kernels/cpu/amx_vectors.h"
#include "kernels/cpu/workspace.h"

#if defined(__x86_64__)
#include <algorithm>
#include <cstddef>
#include <utility>

namespace dslad::kernels {
namespace {

constexpr std::int64_t kBlock = 32;  // tokens, at most
constexpr std::int64_t kBlockTiles = kBlock / kTile, kBlockSteps = kBlock / kDepth;
// Fewer tokens than these would leave most of a tile empty.
constexpr std::int64_t kFewest = 8;
// Of a block's log-gates, added up: e^50 is far from float32's ends, whatever it is multiplied by.
constexpr float kMostDecay = 100.0f;

// log a of gates-inl.h: max((min(x, 0) - log(1 + e^-|x|)) / tau, lowest), NaN for NaN. The logarithm is a
// series of y = e / (2 + e), at most 1/3.
DSLAD_AMX inline __m512 log_gate(__m512 logit) {
  const __m512 e = exp_of(_mm512_sub_ps(_mm512_setzero_ps(), _mm512_abs_ps(logit)));
  const __m512 y = _mm512_mul_ps(e, reciprocal(_mm512_add_ps(e, _mm512_set1_ps(2.0f))));
  const __m512 square = _mm512_mul_ps(y, y);
  __m512 series = _mm512_set1_ps(2.0f / 13);
  for (const float odd : {11.0f, 9.0f, 7.0f, 5.0f, 3.0f, 1.0f})
    series = _mm512_fmadd_ps(series, square, _mm512_set1_ps(2.0f / odd));
  // Of two operands the second is what comes of a NaN.
  const __m512 log_sigmoid = _mm512_fnmadd_ps(series, y, _mm512_min_ps(_mm512_setzero_ps(), logit));
  return _mm512_max_ps(_mm512_set1_ps(kMinLogGate),
                       _mm512_mul_ps(log_sigmoid, _mm512_set1_ps(1.0f / kGateTemperature)));
}

class Chunks {
 public:
  Chunks(const DslaHead& head, const DslaShape& shape, float* memory)
      : head_(head),
        d_k_(shape.d_k),
        d_v_(shape.d_v),
        group_(shape.n_heads / shape.n_kv),
        channels_(shape.channels()),
        value_tiles_(d_v_ / kTile) {
    const std::int64_t steps = channels_ / kDepth;
    const auto tiles = [&](Tiles& part, std::int64_t rows, std::int64_t columns) {
      part = {at_float(memory, size_), columns};
      size_ += rows * columns * kParts * kTileFloats;
    };
    const auto floats = [&](float*& part, std::int64_t count) {
      part = at_float(memory, size_);
      size_ += (count + kTile - 1) / kTile * kTile;
    };
    tiles(keys_, steps, kBlockTiles);
    tiles(key_rows_, channels_ / kTile, kBlockSteps);
    tiles(values_, kBlockSteps, value_tiles_);
    tiles(states_, steps, value_tiles_);
    tiles(queries_[0], steps, 1);
    tiles(queries_[1], steps, 1);
    tiles(weights_, kBlockSteps, 1);
    floats(scores_, kBlockTiles * kTileFloats);
    floats(decays_, kBlock * channels_);
    floats(owed_, channels_);
    floats(out_, kTile * d_v_);
    vectors_ = at_float(memory, size_);
    size_ += dsla_chunks_vectors_workspace(shape);
  }

  [[nodiscard]] std::int64_t floats() const { return size_; }

  DSLAD_AMX void run() {
    std::fill_n(owed_, channels_, 1.0f);
    for (std::int64_t first = 0, most = kBlock; first < head_.rows;) {
      const std::int64_t left = head_.rows - first;
      const std::int64_t rows = left < kFewest ? 0 : fitting(first, std::min(left, most));
      if (rows > 0) {
        block(first, rows);
      } else {
        settle();
        dsla_chunks_vectors(part(first, std::min(left, kTile)), vectors_);
      }
      most = rows == 0 ? kTile : std::min(kBlock, 2 * (rows + kTile - 1) / kTile * kTile);
      first += rows == 0 ? std::min(left, kTile) : rows;
    }
    settle();
  }

 private:
  [[nodiscard]] DslaHead part(std::int64_t first, std::int64_t rows) const {
    return {head_.args, head_.first_row + first, rows, head_.head, {head_.states[0], head_.states[1]}};
  }

  // The tokens, of these, that one anchor serves, with their sums of log-gates in `decays_`; 0: not even the
  // fewest. NaN is for the other form, which says what becomes of it.
  DSLAD_AMX std::int64_t fitting(std::int64_t first, std::int64_t rows) {
    add_gates(first, rows);
    const auto too_much = [&](std::int64_t tokens) {
      const float* last = decays_ + (tokens - 1) * channels_;
      return !std::all_of(last, last + channels_, [](float sum) { return sum >= -kMostDecay; });
    };
    while (rows > kTile && too_much(rows)) rows = std::max(kTile, rows / 2 / kTile * kTile);
    return too_much(rows) ? 0 : rows;
  }

  // b_t of these tokens.
  DSLAD_AMX void add_gates(std::int64_t first, std::int64_t rows) {
    const std::int64_t stride = head_.args->z_stride;
    for (std::int64_t c = 0; c < channels_; c += kTile) {
      const int i = c < d_k_ ? 0 : 1;
      const float* z = head_.z(first, i) + c % d_k_;
      const __m512 bias = _mm512_loadu_ps(head_.gate_bias(i) + c % d_k_);
      __m512 sum = _mm512_setzero_ps();
      for (std::int64_t t = 0; t < rows; ++t, z += stride) {
        sum = _mm512_add_ps(sum, log_gate(_mm512_add_ps(_mm512_loadu_ps(z), bias)));
        _mm512_storeu_ps(decays_ + t * channels_ + c, sum);
      }
    }
  }

  // What the states are still to be multiplied by.
  DSLAD_AMX void settle() {
    for (std::int64_t c = 0; c < channels_; ++c) {
      const float factor = std::exchange(owed_[c], 1.0f);
      if (factor == 1.0f) continue;
      float* const state = state_of(c);
      for (std::int64_t j = 0; j < d_v_; j += kTile)
        _mm512_storeu_ps(state + j, _mm512_mul_ps(_mm512_loadu_ps(state + j), _mm512_set1_ps(factor)));
    }
  }

  [[nodiscard]] float* state_of(std::int64_t channel) const {
    return head_.states[channel / d_k_] + channel % d_k_ * d_v_;
  }

  DSLAD_AMX void block(std::int64_t first, std::int64_t rows) {
    find_decays(rows);
    split_keys(first, rows);
    split_values(first, rows);
    const Unit start{0, 0, std::min(kTile, rows)};
    for (std::int64_t step = 0; step < channels_ / kDepth; ++step) split_queries(first, start, step);
    for (Unit unit = start; unit.count > 0;) {
      const Unit next = after(unit, rows);
      attend(first, unit, next);
      unit = next;
    }
    update_states(rows);
  }

  // exp(b_t - a) in the place of b_t; and the states, which take exp(a), as right operands.
  DSLAD_AMX void find_decays(std::int64_t rows) {
    for (std::int64_t c = 0; c < channels_; c += kTile) {
      float* const sums = decays_ + c;
      const __m512 anchor =
          _mm512_mul_ps(_mm512_set1_ps(0.5f), _mm512_loadu_ps(sums + (rows - 1) * channels_));
      for (std::int64_t t = 0; t < rows; ++t) {
        float* const at = sums + t * channels_;
        _mm512_storeu_ps(at, exp_of(_mm512_sub_ps(_mm512_loadu_ps(at), anchor)));
      }
      const __m512 factor = exp_of(anchor);
      alignas(64) float now[kTile];
      _mm512_store_ps(now, _mm512_mul_ps(factor, _mm512_loadu_ps(owed_ + c)));
      _mm512_storeu_ps(owed_ + c, factor);
      for (std::int64_t j = 0; j < kTile; j += 2) split_states(c + j, now[j], now[j + 1]);
    }
  }

  // Of two channels.
  DSLAD_AMX void split_states(std::int64_t channel, float first_factor, float second_factor) {
    float* const first = state_of(channel);
    float* const second = first + d_v_;
    const __m512 f = _mm512_set1_ps(first_factor), s = _mm512_set1_ps(second_factor);
    for (std::int64_t n = 0; n < value_tiles_; ++n) {
      const __m512 even = _mm512_mul_ps(f, _mm512_loadu_ps(first + n * kTile));
      const __m512 odd = _mm512_mul_ps(s, _mm512_loadu_ps(second + n * kTile));
      _mm512_storeu_ps(first + n * kTile, even);
      _mm512_storeu_ps(second + n * kTile, odd);
      store_pairs(states_.at(channel / kDepth, n, 0) + channel % kDepth / 2 * kTile, even, odd);
    }
  }

  // k exp(a - b_u), as right operands of scores and as left ones of the states; zeros behind the last token.
  DSLAD_AMX void split_keys(std::int64_t first, std::int64_t rows) {
    const std::int64_t tiles = (rows + kTile - 1) / kTile;
    for (std::int64_t m = 0; m < tiles; ++m) {
      for (std::int64_t c = 0; c < channels_; c += kTile) {
        __m512 x[kTile];
        for (std::int64_t u = 0; u < kTile; ++u) {
          const std::int64_t token = m * kTile + u;
          x[u] = token >= rows ? _mm512_setzero_ps()
                               : _mm512_mul_ps(_mm512_loadu_ps(head_.k(first + token) + c % d_k_),
                                               reciprocal(_mm512_loadu_ps(decays_ + token * channels_ + c)));
        }
        transpose(x);
        float* const pairs = keys_.at(c / kDepth, m, 0) + c % kDepth / 2 * kTile;
#pragma GCC unroll 8
        for (int j = 0; j < kTile; j += 2) store_pairs(pairs + j / 2 * kTile, x[j], x[j + 1]);
        float* const halves = key_rows_.at(c / kTile, m / 2, 0) + m % 2 * kTile / 2;
#pragma GCC unroll 16
        for (int j = 0; j < kTile; ++j) store_half(halves + j * kTile, x[j]);
      }
    }
    if (tiles % 2 == 0) return;
    for (std::int64_t c = 0; c < channels_; c += kTile) {
      float* const halves = key_rows_.at(c / kTile, tiles / 2, 0) + kTile / 2;
      for (int j = 0; j < kTile; ++j) store_half(halves + j * kTile, _mm512_setzero_ps());
    }
  }

  DSLAD_AMX void split_values(std::int64_t first, std::int64_t rows) {
    for (std::int64_t u = 0; u < (rows + kDepth - 1) / kDepth * kDepth; u += 2) {
      for (std::int64_t n = 0; n < value_tiles_; ++n) {
        const auto value = [&](std::int64_t token) DSLAD_AMX {
          return token < rows ? _mm512_loadu_ps(head_.v(first + token) + n * kTile) : _mm512_setzero_ps();
        };
        store_pairs(values_.at(u / kDepth, n, 0) + u % kDepth / 2 * kTile, value(u), value(u + 1));
      }
    }
  }

  // Of one query head, the block's tokens [16 tile, 16 tile + count).
  struct Unit {
    std::int64_t tile;
    int query_head;
    std::int64_t count;  // 0: there is none
  };
  [[nodiscard]] Unit after(const Unit& unit, std::int64_t rows) const {
    if (unit.query_head + 1 < group_) return {unit.tile, unit.query_head + 1, unit.count};
    return {unit.tile + 1, 0, std::clamp<std::int64_t>(rows - (unit.tile + 1) * kTile, 0, kTile)};
  }
  [[nodiscard]] const Tiles& queries_of(const Unit& unit) const {
    return queries_[(unit.tile * group_ + unit.query_head) % 2];
  }

  // Outputs of a unit. What vectors do for it, and for the next unit, lies between products that do not need
  // it, so that both run at once.
  DSLAD_AMX void attend(std::int64_t first, const Unit& unit, const Unit& next) {
    const std::int64_t steps = channels_ / kDepth, m = unit.tile;
    const Tiles& queries = queries_of(unit);
    publish();
    zero_sums();
    for (std::int64_t step = 0; step < steps; ++step)
      multiply(m + 1, queries.at(step, 0, 0), keys_.at(step, 0, 0));
    store_sums(m + 1, scores_, kTileFloats, kTile);
    float* const o = head_.o(first + m * kTile) + unit.query_head * d_v_;
    for (std::int64_t n = 0; n < value_tiles_; n += kAtOnce) {
      const std::int64_t tiles = std::min<std::int64_t>(kAtOnce, value_tiles_ - n);
      zero_sums();
      for (std::int64_t step = 0; step < steps; ++step) {
        multiply(tiles, queries.at(step, 0, 0), states_.at(step, n, 0));
        if (n > 0) continue;
        publish();
        if (step == steps / 2) split_scores(m);
        if (next.count > 0) split_queries(first, next, step);
        publish();
      }
      for (std::int64_t step = 0; step <= m / 2; ++step)
        multiply(tiles, weights_.at(step, 0, 0), values_.at(step, n, 0));
      if (unit.count == kTile) {
        store_sums(tiles, o + n * kTile, kTile, head_.args->o_stride);
      } else {
        store_sums(tiles, out_ + n * kTile, kTile, d_v_);
      }
    }
    publish();
    if (unit.count == kTile) return;
    for (std::int64_t t = 0; t < unit.count; ++t)
      std::copy_n(out_ + t * d_v_, d_v_, o + t * head_.args->o_stride);
  }

  // s mix_i q exp(b_t - a), a step of channels; zeros behind the last token.
  DSLAD_AMX void split_queries(std::int64_t first, const Unit& unit, std::int64_t step) {
    const std::int64_t c = step * kDepth, stride = head_.args->q_stride;
    const int i = c < d_k_ ? 0 : 1;
    const __m512 factor = _mm512_set1_ps(head_.scale() * head_.mix(i, unit.query_head));
    const float* q = head_.q(first + unit.tile * kTile) + unit.query_head * d_k_ + c % d_k_;
    const float* decay = decays_ + unit.tile * kTile * channels_ + c;
    float* to = queries_of(unit).at(step, 0, 0);
    for (std::int64_t t = 0; t < unit.count; ++t, q += stride, decay += channels_, to += kTile) {
      store_row(to, _mm512_mul_ps(_mm512_mul_ps(factor, _mm512_loadu_ps(q)), _mm512_loadu_ps(decay)),
                _mm512_mul_ps(_mm512_mul_ps(factor, _mm512_loadu_ps(q + 16)), _mm512_loadu_ps(decay + 16)));
    }
    for (std::int64_t t = unit.count; t < kTile; ++t, to += kTile)
      store_row(to, _mm512_setzero_ps(), _mm512_setzero_ps());
  }

  // Scores of tokens that are still to come are none, whatever was computed.
  DSLAD_AMX void split_scores(std::int64_t m) {
    for (std::int64_t step = 0; step <= m / 2; ++step) {
      for (std::int64_t t = 0; t < kTile; ++t) {
        const auto score = [&](std::int64_t n) DSLAD_AMX {
          if (n > m) return _mm512_setzero_ps();
          const auto seen = static_cast<__mmask16>(n < m ? 0xffffu : (2u << t) - 1u);
          return _mm512_maskz_loadu_ps(seen, scores_ + n * kTileFloats + t * kTile);
        };
        store_row(weights_.at(step, 0, 0) + t * kTile, score(2 * step), score(2 * step + 1));
      }
    }
  }

  DSLAD_AMX void update_states(std::int64_t rows) {
    publish();
    for (std::int64_t c = 0; c < channels_; c += kTile) {
      float* const state = state_of(c);
      for (std::int64_t n = 0; n < value_tiles_; n += kAtOnce) {
        const std::int64_t tiles = std::min<std::int64_t>(kAtOnce, value_tiles_ - n);
        load_sums(tiles, state + n * kTile, kTile, d_v_);
        for (std::int64_t step = 0; step * kDepth < rows; ++step)
          multiply(tiles, key_rows_.at(c / kTile, step, 0), values_.at(step, n, 0));
        store_sums(tiles, state + n * kTile, kTile, d_v_);
      }
    }
    publish();
  }

  const DslaHead& head_;
  std::int64_t d_k_, d_v_;
  int group_;
  std::int64_t channels_;  // of all states
  std::int64_t value_tiles_;
  std::int64_t size_ = 0;
  Tiles keys_;                // [channels / 32, tokens / 16] right operands
  Tiles key_rows_;            // [channels / 16, tokens / 32] left operands
  Tiles values_;              // [tokens / 32, d_v / 16] right operands
  Tiles states_;              // [channels / 32, d_v / 16] right operands
  Tiles queries_[2];          // [channels / 32] left operands, of a unit and of the next
  Tiles weights_;             // [tokens / 32] left operands: scores of 16 tokens
  float* scores_ = nullptr;   // [tokens / 16][16][16]
  float* decays_ = nullptr;   // [tokens][channels] sums of log-gates, then exp(b_t - a)
  float* owed_ = nullptr;     // [channels] what the states are still to be multiplied by
  float* out_ = nullptr;      // [16][d_v]
  float* vectors_ = nullptr;  // for the other form
};

}  // namespace

bool amx_chunks(const DslaShape& shape) {
  return shape.d_k % kDepth == 0 && shape.d_v % kTile == 0 && may_use_amx();
}

std::int64_t dsla_chunks_amx_workspace(const DslaShape& shape) {
  return Chunks({}, shape, nullptr).floats();
}

DSLAD_AMX void dsla_chunks_amx(const DslaHead& head, float* workspace) {
  const TileConfig config;
  publish();
  _tile_loadconfig(&config);
  Chunks(head, head.args->shape, workspace).run();
  _tile_release();
}

}  // namespace dslad::kernels

#else

namespace dslad::kernels {
bool amx_chunks(const DslaShape&) {
  return false;
}
std::int64_t dsla_chunks_amx_workspace(const DslaShape&) {
  return 0;
}
void dsla_chunks_amx(const DslaHead&, float*) {}
}  // namespace dslad::kernels

#endif
