#include "kernels/attention/sequence_attention_block.h"

#include <algorithm>
#include <cmath>
#include <limits>

// clang-format off
#include "kernels/cpu/simd_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/sequence_attention_block.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
#include "kernels/cpu/for_lanes-inl.h"
#include "kernels/cpu/small_gemm-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {

constexpr std::int64_t kBlockKeys = 48;  // whole register tiles; scores stay in the first-level cache
constexpr std::int64_t kStride = kBlockQueries;
// Queries are worked on in whole vectors of any width; those beyond the last are zeros that nobody reads.
constexpr std::int64_t kQueryStep = 16;
constexpr std::int64_t whole_steps(std::int64_t count) {
  return (count + kQueryStep - 1) / kQueryStep * kQueryStep;
}

// A score that never counts, and a largest score below all that do but far above it: a query that sees
// nothing of a block gets weights of zero there, not of exp(0).
constexpr float kHidden = std::numeric_limits<float>::lowest();
constexpr float kNoScore = kHidden / 2;

struct BlockWorkspace {
  BlockWorkspace(int d, float* memory)
      : queries(memory),
        d_out(queries + d * kStride),
        scores(d_out + d * kStride),
        slopes(scores + kBlockKeys * kStride),
        rows(slopes + kBlockKeys * kStride) {}
  static std::int64_t floats(int d) { return (2 * d + 2 * kBlockKeys + 4) * kStride; }

  [[nodiscard]] float* row(int i) const { return rows + i * kStride; }

  float* queries;  // [d, kStride] scaled, transposed
  float* d_out;    // the same of d_o; forward: o [kBlockQueries, d]
  float* scores;   // [kBlockKeys, kStride]
  float* slopes;   // the same of the scores' gradients
  float* rows;     // [4, kStride] one number a query
};

// Copies [count, d] to `to` [d, kStride], scaled; queries up to the next whole step become zero.
void pack_transposed(const float* HWY_RESTRICT from, std::int64_t stride, std::int64_t count, std::int64_t d,
                     float scale, float* HWY_RESTRICT to) {
  constexpr std::int64_t kTogether = 4;  // four values make one store
  const std::int64_t whole = count / kTogether * kTogether, padded = whole_steps(count);
  for (std::int64_t i = 0; i < whole; i += kTogether) {
    for (std::int64_t j = 0; j < d; ++j) {
      for (std::int64_t x = 0; x < kTogether; ++x) {
        to[j * kStride + i + x] = scale * from[(i + x) * stride + j];
      }
    }
  }
  for (std::int64_t j = 0; j < d; ++j) {
    for (std::int64_t i = whole; i < count; ++i) to[j * kStride + i] = scale * from[i * stride + j];
    std::fill(to + j * kStride + count, to + j * kStride + padded, 0.0f);
  }
}

// The queries that see any of `keys`, widened to whole steps.
Range seeing_steps(const TokenRun& queries, const TokenRun& keys, const Reach& reach) {
  const Range oldest = seeing(queries, keys.position, reach);
  const Range latest = seeing(queries, keys.end_position() - 1, reach);
  return {oldest.first / kQueryStep * kQueryStep, whole_steps(std::max(oldest.last, latest.last))};
}

void hide_unseen(const TokenRun& queries, const TokenRun& keys, const Reach& reach, Range steps,
                 float* scores) {
  for (std::int64_t u = 0; u < keys.rows; ++u) {
    const Range seen = seeing(queries, keys.position + u, reach);
    float* row = scores + u * kStride;
    if (seen.first > steps.first) std::fill(row + steps.first, row + seen.first, kHidden);
    if (seen.last < steps.last) std::fill(row + seen.last, row + steps.last, kHidden);
  }
}

// scores[u, t] = scale q_t . k_u for the queries of `steps`; the same bits in both passes.
void score(const SequenceAttentionArgs& args, int kv_head, const TokenRun& queries, const TokenRun& keys,
           Range steps, BlockWorkspace& w) {
  const float* k = args.k + keys.first_row * args.kv_stride + std::int64_t{kv_head} * args.head_dim;
  small_gemm<float>(keys.rows, steps.last - steps.first, args.head_dim, {k, args.kv_stride, 1},
                    {w.queries + steps.first, kStride}, {w.scores + steps.first, kStride},
                    GemmMode::kOverwrite);
  hide_unseen(queries, keys, {args.window, args.sinks}, steps, w.scores);
}

// The online softmax of a block of queries: what is known of each after the keys so far.
struct Softmax {
  explicit Softmax(const BlockWorkspace& w)
      : largest(w.row(0)), sum(w.row(1)), spread(w.row(2)), keep(w.row(3)) {}
  float* largest;  // score
  float* sum;      // of exp(score - largest)
  float* spread;   // of exp(score - largest) (score - largest)
  float* keep;     // factor for what was summed up before the last block
};

// Turns scores into exp(score - largest). `steps` is in whole vectors.
void soften(std::int64_t keys, Range steps, float* scores, const Softmax& softmax) {
  const hn::CappedTag<float, kQueryStep> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t t = steps.first; t < steps.last; t += lanes) {
    const auto before = hn::Load(d, softmax.largest + t);
    auto largest = before;
    for (std::int64_t u = 0; u < keys; ++u) largest = hn::Max(largest, hn::Load(d, scores + u * kStride + t));
    const auto drop = hn::Sub(before, largest);
    const auto keep = hn::Exp(d, drop);
    const auto sum_before = hn::Load(d, softmax.sum + t);
    auto spread = hn::Mul(keep, hn::MulAdd(drop, sum_before, hn::Load(d, softmax.spread + t)));
    auto sum = hn::Mul(keep, sum_before);
    for (std::int64_t u = 0; u < keys; ++u) {
      const auto x = hn::Sub(hn::Load(d, scores + u * kStride + t), largest);
      const auto p = hn::Exp(d, x);
      sum = hn::Add(sum, p);
      spread = hn::MulAdd(p, x, spread);
      hn::Store(p, d, scores + u * kStride + t);
    }
    hn::Store(largest, d, softmax.largest + t);
    hn::Store(sum, d, softmax.sum + t);
    hn::Store(spread, d, softmax.spread + t);
    hn::Store(keep, d, softmax.keep + t);
  }
}

void scale_row(float factor, const float* from, float* to, std::int64_t width) {
  for_lanes(width, [&](auto d, std::int64_t j) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::Set(d, factor), hn::LoadU(d, from + j)), d, to + j);
  });
}

// o [t, d] <- keep_t o + sum of p_tu v_u, not yet normalised.
void sum_values(const SequenceAttentionArgs& args, int kv_head, const TokenRun& keys, Range rows,
                const BlockWorkspace& w, float* o) {
  const int d = args.head_dim;
  const float* keep = Softmax(w).keep;
  for (std::int64_t t = rows.first; t < rows.last; ++t) {
    if (keep[t] != 1.0f) scale_row(keep[t], o + t * d, o + t * d, d);
  }
  const float* v = args.v + keys.first_row * args.kv_stride + std::int64_t{kv_head} * d;
  small_gemm<float>(rows.last - rows.first, d, keys.rows, {w.scores + rows.first, 1, kStride},
                    {v, args.kv_stride}, {o + rows.first * d, d}, GemmMode::kAccumulate);
}

void write(const SequenceAttentionArgs& args, int head, const TokenRun& queries, const Softmax& softmax,
           const float* o) {
  const int d = args.head_dim;
  for (std::int64_t t = 0; t < queries.rows; ++t) {
    const std::int64_t row = queries.first_row + t;
    // The vectorised exponential makes NaN 0; the spread keeps it, and a trainer must see it.
    const float sum = std::isnan(softmax.spread[t]) ? softmax.spread[t] : softmax.sum[t];
    const float log_sum = std::log(sum);
    scale_row(1.0f / sum, o + t * d, args.o + row * args.o_stride + std::int64_t{head} * d, d);
    args.lse[row * args.n_heads + head] = softmax.largest[t] + log_sum;
    if (args.entropy == nullptr) continue;
    args.entropy[row * args.n_heads + head] = log_sum - softmax.spread[t] / sum;
  }
}

void attend(const SequenceAttentionArgs& args, int head, const TokenRun& queries,
            std::span<const TokenRun> keys, float* workspace) {
  const int d = args.head_dim;
  const int kv_head = head / (args.n_heads / args.n_kv);
  BlockWorkspace w(d, workspace);
  const Softmax softmax(w);
  float* o = w.d_out;
  std::fill_n(softmax.largest, kStride, kNoScore);
  std::fill_n(softmax.sum, kStride, 0.0f);
  std::fill_n(softmax.spread, kStride, 0.0f);
  std::fill_n(o, queries.rows * d, 0.0f);
  pack_transposed(args.q + queries.first_row * args.q_stride + std::int64_t{head} * d, args.q_stride,
                  queries.rows, d, args.scale, w.queries);
  const Reach reach{args.window, args.sinks};
  const auto attend_seen = [&](const TokenRun& seen) HWY_ATTR {
    for (std::int64_t u = 0; u < seen.rows; u += kBlockKeys) {
      const TokenRun block = seen.part(u, kBlockKeys);
      const Range steps = seeing_steps(queries, block, reach);
      score(args, kv_head, queries, block, steps, w);
      soften(block.rows, steps, w.scores, softmax);
      sum_values(args, kv_head, block, {steps.first, std::min(steps.last, queries.rows)}, w, o);
    }
  };
  for (const TokenRun& run : keys)
    for (const TokenRun& seen : seen_parts(queries, run, reach)) attend_seen(seen);
  write(args, head, queries, softmax, o);
}

// Numbers of the queries that the backward pass needs: lse_t and D_t = do_t . o_t.
struct BackwardRows {
  explicit BackwardRows(const BlockWorkspace& w) : lse(w.row(0)), mean(w.row(1)) {}
  float* lse;
  float* mean;
};

float dot(const float* a, const float* b, std::int64_t width) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto sums = hn::Zero(d);
  std::int64_t j = 0;
  for (; j + lanes <= width; j += lanes) sums = hn::MulAdd(hn::LoadU(d, a + j), hn::LoadU(d, b + j), sums);
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (; j < width; ++j) sum += a[j] * b[j];
  return sum;
}

void load_queries(const SequenceAttentionBackwardArgs& args, int head, const TokenRun& queries,
                  BlockWorkspace& w) {
  const SequenceAttentionArgs& f = args.forward;
  const std::int64_t channel = std::int64_t{head} * f.head_dim;
  const std::int64_t first = queries.first_row * f.o_stride + channel;
  pack_transposed(f.q + queries.first_row * f.q_stride + channel, f.q_stride, queries.rows, f.head_dim,
                  f.scale, w.queries);
  pack_transposed(args.d_o + first, f.o_stride, queries.rows, f.head_dim, 1.0f, w.d_out);
  const BackwardRows rows(w);
  std::fill_n(rows.lse, kStride, 0.0f);
  std::fill_n(rows.mean, kStride, 0.0f);
  for (std::int64_t t = 0; t < queries.rows; ++t) {
    rows.lse[t] = f.lse[(queries.first_row + t) * f.n_heads + head];
    rows.mean[t] = dot(args.d_o + first + t * f.o_stride, f.o + first + t * f.o_stride, f.head_dim);
  }
}

// Turns scores into p, and slopes from do . v into scale dl.
void differentiate_scores(std::int64_t keys, Range steps, float scale, BlockWorkspace& w) {
  const hn::CappedTag<float, kQueryStep> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const BackwardRows rows(w);
  const auto scales = hn::Set(d, scale);
  for (std::int64_t t = steps.first; t < steps.last; t += lanes) {
    const auto lse = hn::Load(d, rows.lse + t);
    const auto mean = hn::Load(d, rows.mean + t);
    for (std::int64_t u = 0; u < keys; ++u) {
      float* score = w.scores + u * kStride + t;
      float* slope = w.slopes + u * kStride + t;
      const auto p = hn::Exp(d, hn::Sub(hn::Load(d, score), lse));
      const auto dl = hn::Mul(hn::Mul(scales, p), hn::Sub(hn::Load(d, slope), mean));
      hn::Store(p, d, score);
      hn::Store(dl, d, slope);
    }
  }
}

void differentiate_pairs(const SequenceAttentionBackwardArgs& args, int head, const TokenRun& queries,
                         const TokenRun& keys, BlockWorkspace& w) {
  const SequenceAttentionArgs& f = args.forward;
  const int d = f.head_dim;
  const int kv_head = head / (f.n_heads / f.n_kv);
  const Range steps = seeing_steps(queries, keys, {f.window, f.sinks});
  const std::int64_t first = steps.first, count = std::min(steps.last, queries.rows) - first;
  const std::int64_t key_channel = std::int64_t{kv_head} * d, query_channel = std::int64_t{head} * d;
  const std::int64_t key_offset = keys.first_row * f.kv_stride + key_channel;
  const std::int64_t key_gradient = keys.first_row * args.dkv_stride + key_channel;
  const std::int64_t query_row = queries.first_row + first;

  score(f, kv_head, queries, keys, steps, w);
  small_gemm<float>(keys.rows, steps.last - first, d, {f.v + key_offset, f.kv_stride, 1},
                    {w.d_out + first, kStride}, {w.slopes + first, kStride}, GemmMode::kOverwrite);
  differentiate_scores(keys.rows, steps, f.scale, w);
  small_gemm<float>(keys.rows, d, count, {w.scores + first, kStride, 1},
                    {args.d_o + query_row * f.o_stride + query_channel, f.o_stride},
                    {args.dv + key_gradient, args.dkv_stride}, GemmMode::kAccumulate);
  small_gemm<float>(keys.rows, d, count, {w.slopes + first, kStride, 1},
                    {f.q + query_row * f.q_stride + query_channel, f.q_stride},
                    {args.dk + key_gradient, args.dkv_stride}, GemmMode::kAccumulate);
  small_gemm<float>(count, d, keys.rows, {w.slopes + first, 1, kStride}, {f.k + key_offset, f.kv_stride},
                    {args.dq + query_row * args.dq_stride + query_channel, args.dq_stride},
                    GemmMode::kAccumulate);
}

void differentiate(const SequenceAttentionBackwardArgs& args, int kv_head, const TokenRun& queries,
                   const TokenRun& keys, float* workspace) {
  const SequenceAttentionArgs& f = args.forward;
  const int group = f.n_heads / f.n_kv;
  BlockWorkspace w(f.head_dim, workspace);
  for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    for (std::int64_t t = 0; t < queries.rows; t += kBlockQueries) {
      const TokenRun block = queries.part(t, kBlockQueries);
      const auto parts = seen_parts(block, keys, {f.window, f.sinks});
      if (parts[0].rows + parts[1].rows > 0) load_queries(args, head, block, w);
      for (const TokenRun& seen : parts) {
        for (std::int64_t u = 0; u < seen.rows; u += kBlockKeys)
          differentiate_pairs(args, head, block, seen.part(u, kBlockKeys), w);
      }
    }
  }
}

std::int64_t workspace_floats(int d) {
  return BlockWorkspace::floats(d);
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(attend);
HWY_EXPORT(differentiate);
HWY_EXPORT(workspace_floats);

std::int64_t attention_block_workspace(int d) {
  return HWY_DYNAMIC_DISPATCH(workspace_floats)(d);
}

void attend_block(const SequenceAttentionArgs& args, int head, const TokenRun& queries,
                  std::span<const TokenRun> keys, float* workspace) {
  HWY_DYNAMIC_DISPATCH(attend)(args, head, queries, keys, workspace);
}

void differentiate_block(const SequenceAttentionBackwardArgs& args, int kv_head, const TokenRun& queries,
                         const TokenRun& keys, float* workspace) {
  HWY_DYNAMIC_DISPATCH(differentiate)(args, kv_head, queries, keys, workspace);
}

}  // namespace dslad::kernels
#endif
