#include <algorithm>
#include <vector>

#include "kernels/attention/append_kv.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/attention_tile.h"
#include "kernels/attention/attention_tile_amx.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/workspace.h"

namespace dslad::kernels {
namespace {

// One tile and its partial results: one, or one a partition where it is split over tasks.
struct PlannedTile {
  AttentionTile tile;
  bool split;
  std::int64_t partial;  // offset of its first partial result, in floats

  [[nodiscard]] std::int64_t partitions() const { return tile.end_partition() - tile.first_partition(); }
  [[nodiscard]] std::int64_t partial_floats() const {
    return SoftmaxPartial::floats(tile.count, tile.args->layout.head_dim);
  }
  [[nodiscard]] SoftmaxPartial result(float* partials, std::int64_t index) const {
    return SoftmaxPartial::at(partials + partial + index * partial_floats(), tile.count);
  }
};

// Tiles [first, end) of one KV head against partitions [first_partition, end_partition).
struct Task {
  std::size_t first, end;
  std::int64_t first_partition, end_partition;
};

struct Plan {
  std::vector<PlannedTile> tiles;
  std::vector<Task> tasks;
  std::int64_t partial_floats = 0;
  bool any_split = false;
};

// A tile that is all there is of its piece and head (decode) is split by partitions, so that one long
// sequence uses every thread. Of others a few walk the partitions together: what one has read is near for the
// next.
void add_tiles(const AttentionArgs& args, const AttentionPiece& piece, int kv_head, std::size_t together,
               Plan& plan) {
  const std::int64_t group = args.n_heads / args.layout.n_kv, most = tile_queries(args, piece);
  const std::int64_t begin = piece.silent * group, end = piece.rows * group;
  const std::size_t first_tile = plan.tiles.size();
  for (std::int64_t first = begin; first < end; first += most) {
    const AttentionTile tile{&args, &piece, kv_head, first, std::min(most, end - first)};
    PlannedTile& planned = plan.tiles.emplace_back(PlannedTile{tile, false, plan.partial_floats});
    planned.split = end - begin <= most && planned.partitions() > 1;
    plan.partial_floats += planned.partial_floats() * (planned.split ? planned.partitions() : 1);
    plan.any_split = plan.any_split || planned.split;
  }
  for (std::size_t i = first_tile; i < plan.tiles.size(); i += together) {
    const std::size_t last = std::min(i + together, plan.tiles.size()) - 1;
    const std::int64_t from = plan.tiles[i].tile.first_partition(),
                       to = plan.tiles[last].tile.end_partition();
    const std::int64_t step = plan.tiles[i].split ? 1 : to - from;
    for (std::int64_t at = from; at < to; at += step) plan.tasks.push_back({i, last + 1, at, at + step});
  }
}

Plan make_plan(const AttentionArgs& args, int threads) {
  constexpr std::int64_t kMostTogether = 8, kTasksPerThread = 4;
  std::int64_t queries = 0;
  for (const AttentionPiece& piece : args.pieces) queries += (piece.rows - piece.silent) * args.n_heads;
  const std::int64_t share = queries / kTileQueries / (threads * kTasksPerThread);
  const auto together = static_cast<std::size_t>(std::clamp<std::int64_t>(share, 1, kMostTogether));
  Plan plan;
  for (const AttentionPiece& piece : args.pieces) {
    for (int head = 0; head < args.layout.n_kv; ++head) add_tiles(args, piece, head, together, plan);
  }
  return plan;
}

void run_task(const Plan& plan, const Task& task, float* partials) {
  thread_local Workspace workspace;
  const AttentionArgs& args = *plan.tiles[task.first].tile.args;
  const std::int64_t attend_floats = (attend_tile_workspace(args.layout) + 15) / 16 * 16;
  const std::int64_t floats = attend_floats + SoftmaxPartial::floats(kTileQueries, args.layout.head_dim);
  float* const memory = workspace.floats(static_cast<std::size_t>(floats));
  for (std::int64_t partition = task.first_partition; partition < task.end_partition; ++partition) {
    for (std::size_t i = task.first; i < task.end; ++i) {
      const PlannedTile& planned = plan.tiles[i];
      const AttentionTile& tile = planned.tile;
      if (partition < tile.first_partition() || partition >= tile.end_partition()) continue;
      const std::int64_t index = partition - tile.first_partition();
      const SoftmaxPartial result = planned.result(partials, planned.split ? index : 0);
      if (planned.split || index == 0) {
        attend_tile(tile, partition, result, memory);
        continue;
      }
      const SoftmaxPartial later = SoftmaxPartial::at(memory + attend_floats, tile.count);
      attend_tile(tile, partition, later, memory);
      merge_partial(tile, result, later);
    }
  }
  for (std::size_t i = task.first; i < task.end; ++i) {
    if (!plan.tiles[i].split) write_output(plan.tiles[i].tile, plan.tiles[i].result(partials, 0));
  }
}

void merge_parts(const PlannedTile& planned, float* partials) {
  if (!planned.split) return;
  const SoftmaxPartial result = planned.result(partials, 0);
  for (std::int64_t i = 1; i < planned.partitions(); ++i) {
    merge_partial(planned.tile, result, planned.result(partials, i));
  }
  write_output(planned.tile, result);
}

}  // namespace

KvLayout layout_for_attention_cpu(KvLayout layout) {
  layout.pairs = amx_attends(layout.dtype, layout.head_dim);
  return layout;
}

void attention_cpu(ThreadPool& pool, const AttentionArgs& args) {
  thread_local Workspace workspace;
  const auto pieces = static_cast<std::int64_t>(args.pieces.size());
  const int n_kv = args.layout.n_kv;
  pool.parallel_for(pieces * n_kv, [&](std::int64_t task, int) {
    append_kv(args, args.pieces[static_cast<std::size_t>(task / n_kv)], static_cast<int>(task % n_kv));
  });
  const Plan plan = make_plan(args, pool.size());
  float* partials = workspace.floats(static_cast<std::size_t>(plan.partial_floats));
  pool.parallel_for(static_cast<std::int64_t>(plan.tasks.size()), [&](std::int64_t task, int) {
    run_task(plan, plan.tasks[static_cast<std::size_t>(task)], partials);
  });
  if (!plan.any_split) return;
  pool.parallel_for(static_cast<std::int64_t>(plan.tiles.size()), [&](std::int64_t tile, int) {
    merge_parts(plan.tiles[static_cast<std::size_t>(tile)], partials);
  });
}

}  // namespace dslad::kernels
