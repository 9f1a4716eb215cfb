#include "kernels/attention/attention_tile_amx.h"

#include "kernels/cpu/amx.h"
#include "kernels/cpu/amx_vectors.h"

#if defined(__x86_64__)
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <limits>
#include <utility>

namespace dslad::kernels {
namespace {

constexpr std::int64_t kTileRows = 16;     // of a tile register; also its columns of float32
constexpr std::int64_t kTileDepth = 32;    // bf16 numbers in a row of it
constexpr std::int64_t kTileFloats = 256;  // in its kilobyte
constexpr std::int64_t kPageTiles = kPageTokens / kTileRows;
constexpr int kQueryParts = 3, kWeightParts = 2;
// Weights may become e^kSlack before a row's sums are scaled anew: each time costs more than it brings.
constexpr float kSlack = 8.0f;
constexpr float kLowest = -std::numeric_limits<float>::infinity();
static_assert(kAmxTileQueries == 2 * kTileRows && kPageTiles == kWeightParts * kPageTokens / kTileDepth);

// Half of a tile of queries, what tile registers have as rows. Matrices lie as the registers take them, a
// kilobyte each; all of it is small enough for the first-level cache beside a page.
struct Half {
  std::int64_t first, count;  // queries of the tile
  float* queries;             // [d / 32, kQueryParts] of bf16
  float* scores;              // [kPageTiles]; then weights, [kWeightParts, kPageTokens / 32] of bf16
  float* values;              // [d / 16], not normalised
  float* sums;                // [16, 16] of the weights, by lanes
  float* shifts;              // [16] what is taken from scores, at most kSlack below the largest

  static constexpr std::int64_t floats(std::int64_t d) {
    return (d / kTileDepth * kQueryParts + kPageTiles + d / kTileRows + 1) * kTileFloats;
  }
  static Half at(float* memory, std::int64_t d, std::int64_t first, std::int64_t count, float* shifts) {
    float* const scores = memory + d / kTileDepth * kQueryParts * kTileFloats;
    float* const values = scores + kPageTiles * kTileFloats;
    return {first, count, memory, scores, values, values + d / kTileRows * kTileFloats, shifts};
  }
};

// The pages of one KV head.
class Pages {
 public:
  explicit Pages(const AttentionTile& tile)
      : tile_(tile),
        keys_(static_cast<std::size_t>(tile.args->layout.k_offset(tile.kv_head, 0, 0)) * sizeof(bf16)),
        values_(static_cast<std::size_t>(tile.args->layout.v_offset(tile.kv_head, 0, 0)) * sizeof(bf16)) {}

  [[nodiscard]] const bf16* keys(std::int64_t token) const { return at(token, keys_); }
  [[nodiscard]] const bf16* values(std::int64_t token) const { return at(token, values_); }

 private:
  [[nodiscard]] const bf16* at(std::int64_t token, std::size_t offset) const {
    const auto page = static_cast<std::size_t>(tile_.piece->pages[token / kPageTokens]);
    return reinterpret_cast<const bf16*>(static_cast<const std::byte*>(tile_.args->pool) +
                                         page * tile_.args->layout.page_bytes() + offset);
  }

  const AttentionTile& tile_;
  std::size_t keys_, values_;
};

// Scaled queries in three parts; rows that fill up the tiles are zeros.
DSLAD_AMX void split_queries(const AttentionTile& tile, const Half& half) {
  const std::int64_t d = tile.args->layout.head_dim;
  const __m512 scale = _mm512_set1_ps(tile.args->scale);
  for (std::int64_t i = 0; i < kTileRows; ++i) {
    float* to = half.queries + i * 16;
    for (std::int64_t j = 0; j < d; j += kTileDepth) {
      __m512 low = _mm512_setzero_ps(), high = low;
      if (i < half.count) {
        low = _mm512_mul_ps(_mm512_loadu_ps(tile.query(half.first + i) + j), scale);
        high = _mm512_mul_ps(_mm512_loadu_ps(tile.query(half.first + i) + j + 16), scale);
      }
      for (int part = 0; part < kQueryParts; ++part, to += kTileFloats) {
        const __m512 low_part = leading(low), high_part = leading(high);
        store_bf16(to, low_part, high_part);
        low = _mm512_sub_ps(low, low_part);
        high = _mm512_sub_ps(high, high_part);
      }
    }
  }
}

// Scores of the page's tokens [c, c + 2) in tiles.
DSLAD_AMX inline void score_keys(const Half& half, const bf16* keys, std::int64_t d, std::int64_t c) {
  _tile_zero(0);
  _tile_zero(1);
  const float* q = half.queries;
  for (std::int64_t j = 0; j < d; j += kTileDepth) {
    const bf16* const k = keys + j * kPageTokens + c * kTileDepth;
    _tile_loadd(6, k, kPageTokens * 4);
    _tile_loadd(7, k + kTileDepth, kPageTokens * 4);
    for (int part = 0; part < kQueryParts; ++part, q += kTileFloats) {
      _tile_loadd(4, q, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
    }
  }
  _tile_stored(0, half.scores + c * kTileFloats, 64);
  _tile_stored(1, half.scores + (c + 1) * kTileFloats, 64);
}

// Adds to the values of channels [c, c + 2) in tiles what the page's tokens weigh.
DSLAD_AMX inline void add_values(const Half& half, const bf16* page, std::int64_t d, std::int64_t c) {
  float* const values = half.values + c * kTileFloats;
  _tile_loadd(2, values, 64);
  _tile_loadd(3, values + kTileFloats, 64);
  for (std::int64_t step = 0; step < kPageTokens / kTileDepth; ++step) {
    const bf16* const v = page + step * kTileDepth * d + c * kTileDepth;
    _tile_loadd(6, v, d * 4);
    _tile_loadd(7, v + kTileDepth, d * 4);
    for (std::int64_t part = 0; part < kWeightParts; ++part) {
      _tile_loadd(5, half.scores + (part * (kPageTokens / kTileDepth) + step) * kTileFloats, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(2, values, 64);
  _tile_stored(3, values + kTileFloats, 64);
}

// Columns [at, at + 16) that lie in [first, last).
inline __mmask16 columns(std::int64_t at, std::int64_t first, std::int64_t last) {
  const auto before = [&](std::int64_t end) {
    return (1u << std::clamp<std::int64_t>(end - at, 0, 16)) - 1u;
  };
  return static_cast<__mmask16>(before(last) & ~before(first));
}

// A row of tiles: a line of each.
struct Line {
  float* first;
  [[nodiscard]] float* operator[](std::int64_t tile) const { return first + tile * kTileFloats; }
};

// Raises a row's shift to `shift`.
DSLAD_AMX void raise(const Half& half, std::int64_t row, std::int64_t d, float shift) {
  const float before = std::exchange(half.shifts[row], shift);
  if (before == kLowest) return;  // there is nothing yet
  const __m512 keep = exp_of(_mm512_set1_ps(before - shift));
  const Line sums{half.sums + row * 16}, values{half.values + row * 16};
  _mm512_store_ps(sums[0], _mm512_mul_ps(_mm512_load_ps(sums[0]), keep));
  for (std::int64_t c = 0; c < d / kTileRows; ++c) {
    _mm512_store_ps(values[c], _mm512_mul_ps(_mm512_load_ps(values[c]), keep));
  }
}

// A page's scores of one row become weights exp(score - shift) in two parts: those in [first, last), the
// others zeros. As in attention_tile.cc a score meets the same lane and the same additions whatever lies
// before it, and a page without any leaves the row's sums as they are.
DSLAD_AMX inline void soften_row(const Half& half, std::int64_t row, std::int64_t d, std::int64_t first,
                                 std::int64_t last) {
  const Line scores{half.scores + row * 16};
  const bool whole = first == 0 && last == kPageTokens;
  __m512 x[kPageTiles];
  for (std::int64_t c = 0; c < kPageTiles; ++c) {
    x[c] = _mm512_load_ps(scores[c]);
    if (!whole) x[c] = _mm512_mask_mov_ps(_mm512_set1_ps(kLowest), columns(c * 16, first, last), x[c]);
  }
  const __m512 top = _mm512_max_ps(_mm512_max_ps(x[0], x[1]), _mm512_max_ps(x[2], x[3]));
  if (_mm512_cmp_ps_mask(top, _mm512_set1_ps(half.shifts[row] + kSlack), _CMP_GT_OQ) != 0) {
    raise(half, row, d, _mm512_reduce_max_ps(top));
  }
  const __m512 shift = _mm512_set1_ps(half.shifts[row]);
  for (std::int64_t c = 0; c < kPageTiles; ++c) {
    x[c] = exp_of(_mm512_sub_ps(x[c], shift));
    if (!whole) x[c] = _mm512_maskz_mov_ps(columns(c * 16, first, last), x[c]);
  }
  const __m512 sum = _mm512_add_ps(_mm512_add_ps(x[0], x[1]), _mm512_add_ps(x[2], x[3]));
  float* const sums = half.sums + row * 16;
  _mm512_store_ps(sums, _mm512_add_ps(_mm512_load_ps(sums), sum));
  for (std::int64_t step = 0; step < 2; ++step) {
    const __m512 low = x[2 * step], high = x[2 * step + 1];
    const __m512 low_part = nearest(low), high_part = nearest(high);
    store_bf16(scores[step], low_part, high_part);
    store_bf16(scores[2 + step], _mm512_sub_ps(low, low_part), _mm512_sub_ps(high, high_part));
  }
}

// The first `tokens` values of a page, zeros behind them: the weights there are zeros, but what lies there
// need not be finite.
void copy_tail(const bf16* page, std::int64_t tokens, std::int64_t d, bf16* tail) {
  const std::int64_t whole = tokens / 2 * 2 * d;
  std::copy_n(page, whole, tail);
  std::fill(tail + whole, tail + kPageTokens * d, bf16{});
  for (std::int64_t j = 0; tokens % 2 == 1 && j < d; ++j) tail[whole + 2 * j] = page[whole + 2 * j];
}

// One tile against one partition.
class Attending {
 public:
  Attending(const AttentionTile& tile, std::int64_t partition, SoftmaxPartial out, float* workspace)
      : tile_(tile),
        pages_(tile),
        d_(tile.args->layout.head_dim),
        begin_(std::max(partition * kPartitionTokens, tile.oldest(0) / kPageTokens * kPageTokens)),
        end_(std::min((partition + 1) * kPartitionTokens, tile.visible(tile.count - 1))),
        out_(out),
        tail_(reinterpret_cast<bf16*>(workspace + 2 * Half::floats(d_))) {
    for (std::int64_t i = 0; i < 2; ++i) {
      const std::int64_t first = i * kTileRows,
                         count = std::clamp<std::int64_t>(tile.count - first, 0, kTileRows);
      halves_[i] = Half::at(workspace + i * Half::floats(d_), d_, first, count, out.largest + first);
    }
  }

  // While the tile unit multiplies for one half, the vector units soften the other half's scores: neither
  // needs the other's results, and their instructions lie close enough to run at once.
  DSLAD_AMX void run() {
    for (const Half& half : halves_) {
      if (half.count == 0) continue;
      split_queries(tile_, half);
      std::fill_n(half.values, (d_ / kTileRows + 1) * kTileFloats, 0.0f);  // and sums
      std::fill_n(half.shifts, half.count, kLowest);
    }
    if (end_ % kPageTokens != 0) copy_tail(pages_.values(end_), end_ % kPageTokens, d_, tail_);
    multiply_and_soften(halves_[0], -1, halves_[1], -1);
    multiply_and_soften(halves_[1], -1, halves_[0], 0);
    const std::int64_t pages = (end_ - begin_ + kPageTokens - 1) / kPageTokens;
    for (std::int64_t page = 0; page < pages; ++page) {
      multiply_and_soften(halves_[0], page, halves_[1], page);
      multiply_and_soften(halves_[1], page, halves_[0], page + 1);
    }
    for (const Half& half : halves_) write(half);
  }

 private:
  // Values of one page and scores of the next one for one half, weights of a page for the other. Where there
  // is no such page, or no query, that part of the work is left out.
  DSLAD_AMX void multiply_and_soften(const Half& multiplied, std::int64_t page, const Half& softened,
                                     std::int64_t softened_page) {
    const std::int64_t value_steps = d_ / kTileDepth, steps = value_steps + kPageTiles / 2;
    const std::int64_t next = begin_ + (page + 1) * kPageTokens;
    const std::int64_t token = begin_ + softened_page * kPageTokens;
    const std::int64_t rows = softened_page >= 0 && token < end_ ? softened.count : 0;
    for (std::int64_t step = 0, row = 0; step < steps; ++step) {
      publish();
      if (multiplied.count > 0 && step < value_steps && page >= 0) {
        add_values(multiplied, values(next - kPageTokens), d_, 2 * step);
      } else if (multiplied.count > 0 && step >= value_steps && next < end_) {
        score_keys(multiplied, pages_.keys(next), d_, 2 * (step - value_steps));
      }
      for (; row < std::min(rows, kTileRows * (step + 1) / steps); ++row) soften(softened, row, token);
    }
    publish();
  }

  DSLAD_AMX void soften(const Half& half, std::int64_t row, std::int64_t token) const {
    const std::int64_t query = half.first + row;
    const std::int64_t last = std::clamp<std::int64_t>(tile_.visible(query) - token, 0, kPageTokens);
    const std::int64_t first = std::clamp<std::int64_t>(tile_.oldest(query) - token, 0, last);
    soften_row(half, row, d_, first, last);
  }

  [[nodiscard]] const bf16* values(std::int64_t token) const {
    return token + kPageTokens > end_ ? tail_ : pages_.values(token);
  }

  DSLAD_AMX void write(const Half& half) const {
    for (std::int64_t row = 0; row < half.count; ++row) {
      const std::int64_t query = half.first + row;
      out_.sums[query] = _mm512_reduce_add_ps(_mm512_load_ps(half.sums + row * 16));
      const Line values{half.values + row * 16};
      for (std::int64_t c = 0; c < d_ / kTileRows; ++c) {
        _mm512_storeu_ps(out_.values + query * d_ + c * 16, _mm512_load_ps(values[c]));
      }
    }
  }

  const AttentionTile& tile_;
  Pages pages_;
  std::int64_t d_, begin_, end_;
  SoftmaxPartial out_;
  bf16* tail_;
  std::array<Half, 2> halves_;
};

}  // namespace

bool amx_attends(DType dtype, int head_dim) {
  return dtype == DType::kBf16 && head_dim % kTileDepth == 0 && may_use_amx();
}

std::int64_t attend_tile_amx_workspace(int d) {
  return 2 * Half::floats(d) + kPageTokens * d / 2;
}

DSLAD_AMX void attend_tile_amx(const AttentionTile& tile, std::int64_t partition, SoftmaxPartial out,
                               float* workspace) {
  const TileConfig config;
  publish();
  _tile_loadconfig(&config);
  Attending(tile, partition, out, workspace).run();
  _tile_release();
}

}  // namespace dslad::kernels

#else

namespace dslad::kernels {
bool amx_attends(DType, int) {
  return false;
}
std::int64_t attend_tile_amx_workspace(int) {
  return 0;
}
void attend_tile_amx(const AttentionTile&, std::int64_t, SoftmaxPartial, float*) {}
}  // namespace dslad::kernels

#endif
