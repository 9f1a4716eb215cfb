#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "kernels/attention/sequence_attention.h"
#include "kernels/attention/sequence_attention_block.h"
#include "kernels/attention/sequence_attention_waves.h"
#include "kernels/cpu/parallel_rows.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/workspace.h"

namespace dslad::kernels {
namespace {

// A block of a segment's queries and the runs of keys that it may see: the parent's, if any, and its own.
struct QueryBlock {
  TokenRun queries;
  std::array<TokenRun, 2> keys;
};

std::vector<QueryBlock> cut_into_blocks(std::span<const Segment> segments) {
  std::vector<QueryBlock> blocks;
  for (const Segment& segment : segments) {
    const TokenRun own = run_of(segments, segment);
    const TokenRun parent = segment.parent < 0
                                ? TokenRun{}
                                : run_of(segments, segments[static_cast<std::size_t>(segment.parent)]);
    for (std::int64_t first = 0; first < own.rows; first += kBlockQueries) {
      blocks.push_back({own.part(first, kBlockQueries), {parent, own}});
    }
  }
  // The longest first, so that threads finish together.
  std::ranges::stable_sort(blocks, [](const QueryBlock& a, const QueryBlock& b) {
    return a.queries.position > b.queries.position;
  });
  return blocks;
}

void clear_rows(ThreadPool& pool, const Segment& segment, float* data, std::int64_t stride,
                std::int64_t width) {
  parallel_rows(pool, segment.rows, width, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = first; r < last; ++r) {
      std::fill_n(data + (segment.first_row + r) * stride, width, 0.0f);
    }
  });
}

}  // namespace

void sequence_attention_cpu(ThreadPool& pool, const SequenceAttentionArgs& args) {
  const std::vector<QueryBlock> blocks = cut_into_blocks(args.segments);
  const auto tasks = static_cast<std::int64_t>(blocks.size()) * args.n_heads;
  const auto workspace_floats = static_cast<std::size_t>(attention_block_workspace(args.head_dim));
  pool.parallel_for(tasks, [&](std::int64_t task, int) {
    thread_local Workspace workspace;
    const QueryBlock& block = blocks[static_cast<std::size_t>(task / args.n_heads)];
    attend_block(args, static_cast<int>(task % args.n_heads), block.queries, block.keys,
                 workspace.floats(workspace_floats));
  });
}

void sequence_attention_backward_cpu(ThreadPool& pool, const SequenceAttentionBackwardArgs& args) {
  const SequenceAttentionArgs& f = args.forward;
  for (const Segment& segment : f.segments) {
    clear_rows(pool, segment, args.dq, args.dq_stride, std::int64_t{f.n_heads} * f.head_dim);
    clear_rows(pool, segment, args.dk, args.dkv_stride, std::int64_t{f.n_kv} * f.head_dim);
    clear_rows(pool, segment, args.dv, args.dkv_stride, std::int64_t{f.n_kv} * f.head_dim);
  }
  const auto workspace_floats = static_cast<std::size_t>(attention_block_workspace(f.head_dim));
  for (const std::vector<ChunkPair>& wave : find_waves(f.segments, {f.window, f.sinks})) {
    pool.parallel_for(static_cast<std::int64_t>(wave.size()) * f.n_kv, [&](std::int64_t task, int) {
      thread_local Workspace workspace;
      const ChunkPair& pair = wave[static_cast<std::size_t>(task / f.n_kv)];
      differentiate_block(args, static_cast<int>(task % f.n_kv), pair.queries, pair.keys,
                          workspace.floats(workspace_floats));
    });
  }
}

}  // namespace dslad::kernels
