#include <algorithm>

#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/workspace.h"
#include "kernels/delta/delta_head.h"
#include "kernels/delta/delta_rule.h"
#include "kernels/rows.h"

namespace dslad::kernels {

// Chunks begin anew with every part, as kPieceRows is a multiple of theirs.
void delta_rule_cpu(ThreadPool& pool, const DeltaRuleArgs& args) {
  const int n_kv = args.shape.n_kv;
  const auto tasks = static_cast<std::int64_t>(args.pieces.size()) * n_kv;
  pool.parallel_for(tasks, [&](std::int64_t task, int) {
    thread_local Workspace workspace;
    float* const memory = workspace.floats(static_cast<std::size_t>(delta_workspace(args.shape)));
    const DslaPiece& piece = args.pieces[static_cast<std::size_t>(task / n_kv)];
    const auto head = static_cast<int>(task % n_kv);
    float* const state = piece.state + std::int64_t{head} * args.shape.d_k * args.shape.d_v;
    delta_chunks({&args, piece.first_row, piece.rows, head}, state, memory);
  });
}

}  // namespace dslad::kernels
