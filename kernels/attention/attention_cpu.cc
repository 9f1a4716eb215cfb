#include <algorithm>
#include <vector>

#include "kernels/attention/append_kv.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/attention_tile.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/workspace.h"

namespace dslad::kernels {
namespace {

// One tile and the work it is split into: by partitions where the tile is all there is of its piece and head
// (decode), so that one long sequence uses every thread; else one task walks all partitions.
struct PlannedTile {
  AttentionTile tile;
  std::int64_t tasks;
  std::int64_t partial;  // offset of its first partial result, in floats

  [[nodiscard]] std::int64_t partial_floats() const {
    return SoftmaxPartial::floats(tile.count, tile.args->layout.head_dim);
  }
  [[nodiscard]] SoftmaxPartial result(float* partials, std::int64_t task) const {
    return SoftmaxPartial::at(partials + partial + task * partial_floats(), tile.count);
  }
};

struct Task {
  const PlannedTile* planned;
  std::int64_t index;
};

struct Plan {
  std::vector<PlannedTile> tiles;
  std::vector<Task> tasks;
  std::int64_t partial_floats = 0;
};

void add_tiles(const AttentionArgs& args, const AttentionPiece& piece, int kv_head, Plan& plan) {
  const std::int64_t group = args.n_heads / args.layout.n_kv;
  const std::int64_t begin = piece.silent * group, end = piece.rows * group;
  for (std::int64_t first = begin; first < end; first += kTileQueries) {
    const AttentionTile tile{&args, &piece, kv_head, first, std::min(kTileQueries, end - first)};
    const std::int64_t tasks =
        end - begin <= kTileQueries ? tile.end_partition() - tile.first_partition() : 1;
    const PlannedTile& planned = plan.tiles.emplace_back(PlannedTile{tile, tasks, plan.partial_floats});
    plan.partial_floats += tasks * planned.partial_floats();
  }
}

Plan make_plan(const AttentionArgs& args) {
  Plan plan;
  for (const AttentionPiece& piece : args.pieces) {
    for (int head = 0; head < args.layout.n_kv; ++head) add_tiles(args, piece, head, plan);
  }
  for (const PlannedTile& planned : plan.tiles) {
    for (std::int64_t i = 0; i < planned.tasks; ++i) plan.tasks.push_back({&planned, i});
  }
  return plan;
}

void run_task(const Task& task, float* partials) {
  thread_local Workspace workspace;
  const PlannedTile& planned = *task.planned;
  float* memory = workspace.floats(attend_tile_workspace(planned.tile.args->layout.head_dim));
  const SoftmaxPartial result = planned.result(partials, task.index);
  const std::int64_t first = planned.tile.first_partition();
  if (planned.tasks > 1) {
    attend_tile(planned.tile, first + task.index, first + task.index + 1, result, memory);
  } else {
    attend_tile(planned.tile, first, planned.tile.end_partition(), result, memory);
    write_output(planned.tile, result);
  }
}

void merge_tasks(const PlannedTile& planned, float* partials) {
  if (planned.tasks == 1) return;
  const SoftmaxPartial result = planned.result(partials, 0);
  for (std::int64_t i = 1; i < planned.tasks; ++i) {
    merge_partial(planned.tile, result, planned.result(partials, i));
  }
  write_output(planned.tile, result);
}

}  // namespace

void attention_cpu(ThreadPool& pool, const AttentionArgs& args) {
  thread_local Workspace workspace;
  const auto pieces = static_cast<std::int64_t>(args.pieces.size());
  const int n_kv = args.layout.n_kv;
  pool.parallel_for(pieces * n_kv, [&](std::int64_t task, int) {
    append_kv(args, args.pieces[static_cast<std::size_t>(task / n_kv)], static_cast<int>(task % n_kv));
  });
  const Plan plan = make_plan(args);
  float* partials = workspace.floats(static_cast<std::size_t>(plan.partial_floats));
  pool.parallel_for(static_cast<std::int64_t>(plan.tasks.size()), [&](std::int64_t task, int) {
    run_task(plan.tasks[static_cast<std::size_t>(task)], partials);
  });
  if (plan.tasks.size() == plan.tiles.size()) return;
  pool.parallel_for(static_cast<std::int64_t>(plan.tiles.size()), [&](std::int64_t tile, int) {
    merge_tasks(plan.tiles[static_cast<std::size_t>(tile)], partials);
  });
}

}  // namespace dslad::kernels
