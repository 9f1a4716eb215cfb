#include "kernels/attention/attention_tile.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "kernels/attention/attention_tile_amx.h"

// clang-format off
#include "kernels/cpu/simd_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/attention_tile.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
#include "kernels/cpu/small_gemm-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {

// The tile's keys [d, kPageTokens] and values [kPageTokens, d] of the page that holds `token`: both are one
// contiguous block of the same size, of elements or of pairs of rows.
template <class T>
struct PageBlocks {
  const T* keys;
  const T* values;
};

template <class T>
PageBlocks<T> page_blocks(const AttentionTile& tile, std::int64_t token) {
  const KvLayout& layout = tile.args->layout;
  const auto page = static_cast<std::size_t>(tile.piece->pages[token / kPageTokens]);
  const T* base =
      reinterpret_cast<const T*>(static_cast<const std::byte*>(tile.args->pool) + page * layout.page_bytes());
  return {base + layout.k_offset(tile.kv_head, 0, 0) / kRowsTogether<T>,
          base + layout.v_offset(tile.kv_head, 0, 0) / kRowsTogether<T>};
}

// Scores of all queries against the keys of [begin, end); whole pages, so the last columns may be rubbish.
// REQUIRES: begin is a page's first token. Here and below column 0 of a row is token `begin`.
template <class T>
void score_keys(const AttentionTile& tile, const float* queries, std::int64_t begin, std::int64_t end,
                float* scores) {
  const std::int64_t d = tile.args->layout.head_dim;
  for (std::int64_t token = begin; token < end; token += kPageTokens) {
    const T* keys = page_blocks<T>(tile, token).keys;
    const std::int64_t next = token + kPageTokens;
    const T* wanted = next < end ? page_blocks<T>(tile, next).keys : page_blocks<T>(tile, begin).values;
    small_gemm<T>(tile.count, kPageTokens, d, {queries, d, 1}, {keys, kPageTokens, wanted},
                  {scores + (token - begin), kPartitionTokens}, GemmMode::kOverwrite);
  }
}

// Turns a row's scores [first, last) into exp(score - largest), the others of `width` into zero. A score
// meets the same lane and the same additions whatever lies before `first`: a page that one tile visits for a
// row and another does not changes no bit.
HWY_INLINE void soften_row(float* scores, std::int64_t first, std::int64_t last, std::int64_t width,
                           float* sum, float* largest) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto seen = [&](std::int64_t u) HWY_ATTR {
    const auto before = [&](std::int64_t end) HWY_ATTR {
      return hn::FirstN(d, static_cast<std::size_t>(std::max<std::int64_t>(end - u, 0)));
    };
    return hn::AndNot(before(first), before(last));
  };
  const auto lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  auto top = lowest;
  for (std::int64_t u = 0; u < last; u += lanes) {
    top = hn::Max(top, hn::IfThenElse(seen(u), hn::LoadU(d, scores + u), lowest));
  }
  *largest = hn::GetLane(hn::MaxOfLanes(d, top));
  const auto shift = hn::Set(d, *largest);
  auto total = hn::Zero(d);
  for (std::int64_t u = 0; u < width; u += lanes) {
    const auto p = hn::IfThenElseZero(seen(u), hn::Exp(d, hn::Sub(hn::LoadU(d, scores + u), shift)));
    total = hn::Add(total, p);
    hn::StoreU(p, d, scores + u);
  }
  *sum = hn::GetLane(hn::SumOfLanes(d, total));
}

template <class T>
void sum_values(const AttentionTile& tile, const float* weights, std::int64_t begin, std::int64_t end,
                float* values) {
  const std::int64_t d = tile.args->layout.head_dim;
  for (std::int64_t token = begin; token < end; token += kPageTokens) {
    const std::int64_t next = token + kPageTokens;
    const T* wanted = next < end ? page_blocks<T>(tile, next).values : nullptr;
    small_gemm<T>(tile.count, d, std::min(kPageTokens, end - token),
                  {weights + (token - begin), kPartitionTokens, 1},
                  {page_blocks<T>(tile, token).values, d, wanted}, {values, d},
                  token == begin ? GemmMode::kOverwrite : GemmMode::kAccumulate);
  }
}

template <class T>
void attend_partition(const AttentionTile& tile, std::int64_t partition, const float* queries, float* scores,
                      SoftmaxPartial out) {
  // From the page with the oldest token that a window leaves in sight.
  const std::int64_t start = partition * kPartitionTokens;
  const std::int64_t begin = std::max(start, tile.oldest(0) / kPageTokens * kPageTokens);
  const std::int64_t end = std::min(start + kPartitionTokens, tile.visible(tile.count - 1));
  score_keys<T>(tile, queries, begin, end, scores);
  for (std::int64_t i = 0; i < tile.count; ++i) {
    const std::int64_t last = std::clamp<std::int64_t>(tile.visible(i) - begin, 0, end - begin);
    const std::int64_t first = std::clamp<std::int64_t>(tile.oldest(i) - begin, 0, last);
    soften_row(scores + i * kPartitionTokens, first, last, end - begin, out.sums + i, out.largest + i);
  }
  sum_values<T>(tile, scores, begin, end, out.values);
}

void merge(const AttentionTile& tile, SoftmaxPartial into, SoftmaxPartial later) {
  const std::int64_t d = tile.args->layout.head_dim;
  for (std::int64_t i = 0; i < tile.count; ++i) {
    if (later.sums[i] == 0) continue;
    if (into.sums[i] == 0) {  // the earlier keys have left this row's window
      into.sums[i] = later.sums[i];
      into.largest[i] = later.largest[i];
      std::copy_n(later.values + i * d, d, into.values + i * d);
      continue;
    }
    const float top = std::max(into.largest[i], later.largest[i]);
    const float keep = std::exp(into.largest[i] - top);
    const float add = std::exp(later.largest[i] - top);
    into.largest[i] = top;
    into.sums[i] = keep * into.sums[i] + add * later.sums[i];
    float* HWY_RESTRICT to = into.values + i * d;
    const float* HWY_RESTRICT from = later.values + i * d;
    for (std::int64_t j = 0; j < d; ++j) to[j] = keep * to[j] + add * from[j];
  }
}

template <class T>
void attend_typed(const AttentionTile& tile, std::int64_t partition, SoftmaxPartial out, float* workspace) {
  const std::int64_t d = tile.args->layout.head_dim;
  float* queries = workspace;
  float* scores = queries + kTileQueries * d;
  for (std::int64_t i = 0; i < tile.count; ++i) {
    std::transform(tile.query(i), tile.query(i) + d, queries + i * d,
                   [&](float x) { return x * tile.args->scale; });
  }
  attend_partition<T>(tile, partition, queries, scores, out);
}

void attend(const AttentionTile& tile, std::int64_t partition, SoftmaxPartial out, float* workspace) {
  if (tile.args->layout.dtype == DType::kF32) {
    attend_typed<float>(tile, partition, out, workspace);
  } else if (tile.args->layout.pairs) {
    attend_typed<Bf16Pair>(tile, partition, out, workspace);
  } else {
    attend_typed<bf16>(tile, partition, out, workspace);
  }
}

void write(const AttentionTile& tile, SoftmaxPartial result) {
  const std::int64_t d = tile.args->layout.head_dim;
  for (std::int64_t i = 0; i < tile.count; ++i) {
    const float scale = 1.0f / result.sums[i];
    std::transform(result.values + i * d, result.values + (i + 1) * d, tile.output(i),
                   [&](float x) { return x * scale; });
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

namespace {

// With few queries a tile register is mostly empty and waits for memory longer than vectors do.
bool by_amx(const AttentionArgs& args, const AttentionPiece& piece) {
  constexpr std::int64_t kFewest = 8;
  return args.layout.pairs && piece.rows * (args.n_heads / args.layout.n_kv) >= kFewest;
}

}  // namespace

HWY_EXPORT(attend);
HWY_EXPORT(merge);
HWY_EXPORT(write);

std::int64_t tile_queries(const AttentionArgs& args, const AttentionPiece& piece) {
  return by_amx(args, piece) ? kAmxTileQueries : kTileQueries;
}

std::int64_t attend_tile_workspace(const KvLayout& layout) {
  const std::int64_t floats = kTileQueries * (layout.head_dim + kPartitionTokens);
  return layout.pairs ? std::max(floats, attend_tile_amx_workspace(layout.head_dim)) : floats;
}

void attend_tile(const AttentionTile& tile, std::int64_t partition, SoftmaxPartial out, float* workspace) {
  if (by_amx(*tile.args, *tile.piece)) return attend_tile_amx(tile, partition, out, workspace);
  HWY_DYNAMIC_DISPATCH(attend)(tile, partition, out, workspace);
}

void merge_partial(const AttentionTile& tile, SoftmaxPartial into, SoftmaxPartial later) {
  HWY_DYNAMIC_DISPATCH(merge)(tile, into, later);
}

void write_output(const AttentionTile& tile, SoftmaxPartial result) {
  HWY_DYNAMIC_DISPATCH(write)(tile, result);
}

}  // namespace dslad::kernels
#endif
