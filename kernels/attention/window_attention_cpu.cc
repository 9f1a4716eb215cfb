#include <algorithm>
#include <limits>

#include "kernels/attention/window_attention.h"
#include "kernels/attention/window_run.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/workspace.h"

// clang-format off
#include "kernels/cpu/simd_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/window_attention_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
#include "kernels/cpu/for_lanes-inl.h"
#include "kernels/cpu/small_gemm-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace {

// Scores lie transposed, [keys, queries], as in sequence_attention_block.h: the softmax has no horizontal
// sums, and keys and values are used where they lie.
constexpr std::int64_t kTileQueries = 64;
constexpr std::int64_t kBlockKeys = 32;  // few, because the blocks at a window's ends are half hidden

// Whole vectors: queries beyond a tile's last are zeros that nobody reads.
using QueryVector = hn::CappedTag<float, 16>;
std::int64_t whole_vectors(std::int64_t count) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(QueryVector()));
  return (count + lanes - 1) / lanes * lanes;
}

// A score that never counts, and a largest score below all that do but far above it: a query that sees
// nothing of a block gets weights of zero there, not of exp(0).
constexpr float kHidden = std::numeric_limits<float>::lowest();
constexpr float kNoScore = kHidden / 2;

struct TileWorkspace {
  TileWorkspace(std::int64_t d, float* memory)
      : queries(memory),
        values(queries + d * kTileQueries),
        scores(values + d * kTileQueries),
        largest(scores + kBlockKeys * kTileQueries),
        sums(largest + kTileQueries),
        keep(sums + kTileQueries) {}
  static std::int64_t floats(std::int64_t d) { return (2 * d + kBlockKeys + 3) * kTileQueries; }

  float* queries;  // [d, kTileQueries] scaled
  float* values;   // [kTileQueries, d] sum of exp(score - largest) v so far
  float* scores;   // [kBlockKeys, kTileQueries]
  float* largest;  // [kTileQueries] score so far
  float* sums;     // [kTileQueries] of exp(score - largest)
  float* keep;     // [kTileQueries] factor for what was summed up before the last block
};

// A half-open range of a tile's queries.
struct Range {
  std::int64_t first, last;
  [[nodiscard]] std::int64_t count() const { return last - first; }
};

// Queries of one KV head, numbered row-major over [piece.rows, group]: they share keys and values.
struct Tile {
  const WindowAttentionArgs* args;
  const WindowPiece* piece;
  int kv_head;
  std::int64_t first, count;  // count <= kTileQueries

  [[nodiscard]] std::int64_t group() const { return args->shape.n_heads / args->shape.n_kv; }
  [[nodiscard]] std::int64_t token(std::int64_t i) const { return piece->context + (first + i) / group(); }
  [[nodiscard]] std::int64_t offset(std::int64_t i, std::int64_t stride) const {
    const std::int64_t head = kv_head * group() + (first + i) % group();
    return (piece->first_row + (first + i) / group()) * stride + head * args->shape.head_dim;
  }
  // The queries that see token u.
  [[nodiscard]] Range seeing(std::int64_t u) const {
    const bool is_sink = u < args->shape.sinks;
    const auto index = [&](std::int64_t token) {
      return std::clamp<std::int64_t>((token - piece->context) * group() - first, 0, count);
    };
    return {index(u), is_sink ? count : index(u + args->shape.window)};
  }
};

void load_queries(const Tile& tile, TileWorkspace& w) {
  const std::int64_t d = tile.args->shape.head_dim, padded = whole_vectors(tile.count);
  for (std::int64_t i = 0; i < tile.count; ++i) {
    const float* q = tile.args->q + tile.offset(i, tile.args->q_stride);
    for (std::int64_t j = 0; j < d; ++j) w.queries[j * kTileQueries + i] = tile.args->scale * q[j];
  }
  for (std::int64_t j = 0; j < d; ++j) {
    std::fill(w.queries + j * kTileQueries + tile.count, w.queries + j * kTileQueries + padded, 0.0f);
  }
  std::fill_n(w.values, tile.count * d, 0.0f);
  std::fill_n(w.largest, padded, kNoScore);
  std::fill_n(w.sums, padded, 0.0f);
}

// body(run, block row of its first token) for the stretches of tokens [first, last) that lie side by side.
template <class Body>
void for_each_run(const Tile& tile, std::int64_t first, std::int64_t last, const Body& body) {
  for (std::int64_t token = first; token < last;) {
    const WindowRun run = window_run(*tile.args, *tile.piece, tile.kv_head, token, last);
    body(run, token - first);
    token += run.tokens;
  }
}

void score_keys(const Tile& tile, std::int64_t first, std::int64_t last, Range columns, TileWorkspace& w) {
  for_each_run(tile, first, last, [&](const WindowRun& run, std::int64_t row) HWY_ATTR {
    small_gemm<float>(run.tokens, columns.count(), tile.args->shape.head_dim,
                      {run.k, run.k_stride, run.k_channel}, {w.queries + columns.first, kTileQueries},
                      {w.scores + row * kTileQueries + columns.first, kTileQueries}, GemmMode::kOverwrite);
  });
  for (std::int64_t u = first; u < last; ++u) {
    const Range seen = tile.seeing(u);
    float* row = w.scores + (u - first) * kTileQueries;
    if (seen.first > columns.first) std::fill(row + columns.first, row + seen.first, kHidden);
    if (seen.last < columns.last) std::fill(row + seen.last, row + columns.last, kHidden);
  }
}

// Turns the scores of `keys` keys into exp(score - largest).
void soften(std::int64_t keys, Range columns, TileWorkspace& w) {
  const QueryVector d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = columns.first; i < columns.last; i += lanes) {
    const auto before = hn::LoadU(d, w.largest + i);
    auto largest = before;
    for (std::int64_t u = 0; u < keys; ++u) {
      largest = hn::Max(largest, hn::LoadU(d, w.scores + u * kTileQueries + i));
    }
    const auto keep = hn::Exp(d, hn::Sub(before, largest));
    auto sum = hn::Mul(keep, hn::LoadU(d, w.sums + i));
    for (std::int64_t u = 0; u < keys; ++u) {
      float* score = w.scores + u * kTileQueries + i;
      const auto p = hn::Exp(d, hn::Sub(hn::LoadU(d, score), largest));
      sum = hn::Add(sum, p);
      hn::StoreU(p, d, score);
    }
    hn::StoreU(largest, d, w.largest + i);
    hn::StoreU(sum, d, w.sums + i);
    hn::StoreU(keep, d, w.keep + i);
  }
}

void scale_row(float factor, const float* from, float* to, std::int64_t width) {
  for_lanes(width, [&](auto d, std::int64_t j) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::Set(d, factor), hn::LoadU(d, from + j)), d, to + j);
  });
}

void sum_values(const Tile& tile, std::int64_t first, std::int64_t last, Range rows, TileWorkspace& w) {
  const std::int64_t d = tile.args->shape.head_dim;
  for (std::int64_t i = rows.first; i < rows.last; ++i) {
    if (w.keep[i] != 1.0f) scale_row(w.keep[i], w.values + i * d, w.values + i * d, d);
  }
  for_each_run(tile, first, last, [&](const WindowRun& run, std::int64_t row) HWY_ATTR {
    small_gemm<float>(rows.count(), d, run.tokens,
                      {w.scores + row * kTileQueries + rows.first, 1, kTileQueries}, {run.v, run.v_stride},
                      {w.values + rows.first * d, d}, GemmMode::kAccumulate);
  });
}

void attend_block(const Tile& tile, std::int64_t first, std::int64_t last, TileWorkspace& w) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(QueryVector()));
  const Range rows = {tile.seeing(first).first,
                      std::max(tile.seeing(first).last, tile.seeing(last - 1).last)};
  const Range columns = {rows.first / lanes * lanes, whole_vectors(rows.last)};
  score_keys(tile, first, last, columns, w);
  soften(last - first, columns, w);
  sum_values(tile, first, last, rows, w);
}

void attend_tile(const Tile& tile, float* memory) {
  const std::int64_t d = tile.args->shape.head_dim;
  TileWorkspace w(d, memory);
  load_queries(tile, w);
  const std::int64_t end = tile.token(tile.count - 1) + 1, sinks = tile.args->shape.sinks;
  std::int64_t start = std::max<std::int64_t>(0, tile.token(0) + 1 - tile.args->shape.window);
  // Sinks are the first block's, with the tokens of a window that are: a row's sums are the same whichever
  // rows its tile has.
  if (sinks > 0 && start < kBlockKeys) start = 0;
  if (sinks > 0 && start > 0) attend_block(tile, 0, sinks, w);
  for (std::int64_t u = start; u < end;) {
    const std::int64_t next = std::min(end, (u / kBlockKeys + 1) * kBlockKeys);
    attend_block(tile, u, next, w);
    u = next;
  }
  for (std::int64_t i = 0; i < tile.count; ++i) {
    scale_row(1.0f / w.sums[i], w.values + i * d, tile.args->o + tile.offset(i, tile.args->o_stride), d);
  }
}

// A token's queries may be fewer than a vector has lanes; keys fill it, so scores lie the other way round
// here, [queries, keys]. Every sum is the tile's, in its order: a row is the same bit for bit either way.
constexpr std::int64_t kRowQueries = hn::MaxLanes(QueryVector());

struct RowWorkspace {
  RowWorkspace(const WindowShape& shape, float* memory)
      : stride(score_stride(shape)),
        queries(memory),
        values(queries + kRowQueries * shape.head_dim),
        by_slot(values + kRowQueries * shape.head_dim),
        scores(by_slot + kRowQueries * stride),
        largest(scores + kRowQueries * stride),
        sums(largest + kRowQueries),
        keep(sums + kRowQueries) {}
  static std::int64_t floats(const WindowShape& shape) {
    return (2 * (shape.head_dim + score_stride(shape)) + 3) * kRowQueries;
  }
  // Blocks at both ends of a window may be hidden in part, and sinks may be a block of their own.
  static std::int64_t score_stride(const WindowShape& shape) {
    const std::int64_t blocks = (shape.window + 2 * kBlockKeys - 1) / kBlockKeys + (shape.sinks > 0 ? 1 : 0);
    return blocks * kBlockKeys;
  }

  std::int64_t stride;
  float* queries;  // [kRowQueries, d] scaled
  float* values;   // [kRowQueries, d] sum of exp(score - largest) v so far
  float* by_slot;  // [kRowQueries, stride] scores as the keys lie in the ring
  float* scores;   // [kRowQueries, stride] in the order of tokens, Row::place() says where
  float* largest;  // [kRowQueries] score so far
  float* sums;     // [kRowQueries] of exp(score - largest)
  float* keep;     // [kRowQueries] factor for what was summed up before the last block
};

// A token whose key and value are in the ring, and what its queries of one KV head see.
struct Row {
  const WindowAttentionArgs* args;
  float* ring;
  int kv_head;
  std::int64_t row, first, end;  // tokens [first, end) are seen, the last is its own

  [[nodiscard]] std::int64_t group() const { return args->shape.n_heads / args->shape.n_kv; }
  // Sinks before the window: [0, sinks_end()).
  [[nodiscard]] std::int64_t sinks_end() const { return std::min(args->shape.sinks, first); }
  // The window's first block, and where tokens from there on lie among the scores: behind a block of sinks,
  // where these are not of the same. Sinks lie at their own numbers.
  [[nodiscard]] std::int64_t start() const { return first / kBlockKeys * kBlockKeys; }
  [[nodiscard]] bool has_sink_block() const { return args->shape.sinks > 0 && start() > 0; }
  [[nodiscard]] std::int64_t place(std::int64_t token) const {
    return token - start() + (has_sink_block() ? kBlockKeys : 0);
  }
  [[nodiscard]] std::int64_t offset(std::int64_t g, std::int64_t stride) const {
    return row * stride + (kv_head * group() + g) * args->shape.head_dim;
  }
};

// body(run, its first token) for the stretches of tokens [first, last) that lie side by side in the ring.
template <class Body>
void for_each_ring_run(const Row& row, std::int64_t first, std::int64_t last, const Body& body) {
  for (std::int64_t token = first; token < last;) {
    const WindowRun run = ring_run(row.args->shape, row.ring, row.kv_head, token, last);
    body(run, token);
    token += run.tokens;
  }
}

void score_slots(const Row& row, RowWorkspace& w) {
  const WindowShape& shape = row.args->shape;
  const std::int64_t d = shape.head_dim, group = row.group(), slots = std::min(shape.slots(), row.end);
  for (std::int64_t g = 0; g < group; ++g) {
    scale_row(row.args->scale, row.args->q + row.offset(g, row.args->q_stride), w.queries + g * d, d);
  }
  small_gemm<float>(group, slots, d, {w.queries, d, 1},
                    {ring_keys(shape, row.ring, row.kv_head), shape.slots()}, {w.by_slot, w.stride},
                    GemmMode::kOverwrite);
  const std::int64_t last = (row.end + kBlockKeys - 1) / kBlockKeys * kBlockKeys;
  for (std::int64_t g = 0; g < group; ++g) {
    float* scores = w.scores + g * w.stride;
    const float* by_slot = w.by_slot + g * w.stride;
    std::fill(scores, scores + row.place(row.first), kHidden);
    std::fill(scores + row.place(row.end), scores + row.place(last), kHidden);
    for_each_ring_run(row, 0, row.sinks_end(), [&](const WindowRun& run, std::int64_t token) {
      std::copy_n(by_slot + shape.slot_of(token), run.tokens, scores + token);
    });
    for_each_ring_run(row, row.first, row.end, [&](const WindowRun& run, std::int64_t token) {
      std::copy_n(by_slot + shape.slot_of(token), run.tokens, scores + row.place(token));
    });
  }
}

// Not inlined, lest the compiler makes one rounding of the product before and the first addition.
HWY_NOINLINE float add_in_order(float sum, const float* block) {
  for (std::int64_t u = 0; u < kBlockKeys; ++u) sum += block[u];
  return sum;
}

// Turns a block's scores of one query into exp(score - largest).
void soften_block(float* scores, std::int64_t g, RowWorkspace& w) {
  const hn::CappedTag<float, kBlockKeys> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto most = hn::Set(d, w.largest[g]);
  for (std::int64_t u = 0; u < kBlockKeys; u += lanes) most = hn::Max(most, hn::LoadU(d, scores + u));
  const auto largest = hn::MaxOfLanes(d, most);
  const auto keep = hn::Exp(d, hn::Sub(hn::Set(d, w.largest[g]), largest));
  for (std::int64_t u = 0; u < kBlockKeys; u += lanes) {
    hn::StoreU(hn::Exp(d, hn::Sub(hn::LoadU(d, scores + u), largest)), d, scores + u);
  }
  w.largest[g] = hn::GetLane(largest);
  w.keep[g] = hn::GetLane(keep);
  w.sums[g] = add_in_order(w.keep[g] * w.sums[g], scores);
}

// The next block of scores, from `at` on, becomes weights.
void soften_row(const Row& row, std::int64_t at, RowWorkspace& w) {
  const std::int64_t d = row.args->shape.head_dim;
  for (std::int64_t g = 0; g < row.group(); ++g) {
    soften_block(w.scores + g * w.stride + at, g, w);
    if (w.keep[g] != 1.0f) scale_row(w.keep[g], w.values + g * d, w.values + g * d, d);
  }
}

// The values of the tokens [first, last), whose weights lie from `at` on.
void add_values(const Row& row, std::int64_t first, std::int64_t last, std::int64_t at, RowWorkspace& w) {
  const std::int64_t d = row.args->shape.head_dim;
  for_each_ring_run(row, first, last, [&](const WindowRun& run, std::int64_t token) HWY_ATTR {
    small_gemm<float>(row.group(), d, run.tokens, {w.scores + at + (token - first), w.stride, 1},
                      {run.v, run.v_stride}, {w.values, d}, GemmMode::kAccumulate);
  });
}

void attend_row(const Row& row, RowWorkspace& w) {
  const std::int64_t d = row.args->shape.head_dim, group = row.group();
  score_slots(row, w);
  std::fill_n(w.values, group * d, 0.0f);
  std::fill_n(w.largest, group, kNoScore);
  std::fill_n(w.sums, group, 0.0f);
  if (row.has_sink_block()) {
    soften_row(row, 0, w);
    add_values(row, 0, row.sinks_end(), 0, w);
  }
  for (std::int64_t u = row.start(); u < row.end; u += kBlockKeys) {
    soften_row(row, row.place(u), w);
    if (u == 0) add_values(row, 0, row.sinks_end(), 0, w);
    const std::int64_t first = std::max(u, row.first);
    add_values(row, first, std::min(u + kBlockKeys, row.end), row.place(first), w);
  }
  for (std::int64_t g = 0; g < group; ++g) {
    scale_row(1.0f / w.sums[g], w.values + g * d, row.args->o + row.offset(g, row.args->o_stride), d);
  }
}

// Few rows, each into the ring and then attended: what a row's slot held before, no later row sees.
void attend_rows(const WindowAttentionArgs& args, const WindowPiece& piece, int kv_head, float* memory) {
  RowWorkspace w(args.shape, memory);
  for (std::int64_t r = 0; r < piece.rows; ++r) {
    const std::int64_t end = piece.context + r + 1;
    store_tokens(args, piece, kv_head, end - 1, end);
    attend_row({&args, piece.ring, kv_head, piece.first_row + r,
                std::max<std::int64_t>(0, end - args.shape.window), end},
               w);
  }
}

void attend_tiles(const WindowAttentionArgs& args, const WindowPiece& piece, int kv_head, float* memory) {
  const std::int64_t queries = piece.rows * (args.shape.n_heads / args.shape.n_kv);
  for (std::int64_t first = 0; first < queries; first += kTileQueries) {
    attend_tile({&args, &piece, kv_head, first, std::min(kTileQueries, queries - first)}, memory);
  }
  store_window(args, piece, kv_head);
}

// All rows of one piece and KV head, and what they leave in the ring.
void attend_head(const WindowAttentionArgs& args, const WindowPiece& piece, int kv_head) {
  thread_local Workspace workspace;
  float* memory = workspace.floats(static_cast<std::size_t>(
      std::max(TileWorkspace::floats(args.shape.head_dim), RowWorkspace::floats(args.shape))));
  const std::int64_t queries = piece.rows * (args.shape.n_heads / args.shape.n_kv);
  if (queries < static_cast<std::int64_t>(hn::Lanes(QueryVector()))) {
    attend_rows(args, piece, kv_head, memory);
  } else {
    attend_tiles(args, piece, kv_head, memory);
  }
}

}  // namespace
}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(attend_head);

// Split as dsla_cpu is, which does the rest of the layer's work.
void window_attention_cpu(ThreadPool& pool, const WindowAttentionArgs& args) {
  const int n_kv = args.shape.n_kv;
  pool.parallel_for(static_cast<std::int64_t>(args.pieces.size()) * n_kv, [&](std::int64_t task, int) {
    const WindowPiece& piece = args.pieces[static_cast<std::size_t>(task / n_kv)];
    const auto kv_head = static_cast<int>(task % n_kv);
    HWY_DYNAMIC_DISPATCH(attend_head)(args, piece, kv_head);
  });
}

}  // namespace dslad::kernels
#endif
