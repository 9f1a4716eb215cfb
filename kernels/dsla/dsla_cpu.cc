#include <algorithm>

#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/workspace.h"
#include "kernels/dsla/dsla.h"
#include "kernels/dsla/dsla_head.h"
#include "kernels/rows.h"

namespace dslad::kernels {
namespace {

// The chunk form begins anew with every part: where its blocks lie depends on the prompt's cuts alone.
void run_parts(const DslaHead& head, float* memory) {
  for (std::int64_t done = 0; done < head.rows; done += kPieceRows) {
    DslaHead part = head;
    part.first_row += done;
    part.rows = std::min(kPieceRows, head.rows - done);
    if (part.rows == 1) {
      dsla_step(part, memory);
    } else {
      dsla_chunks(part, memory);
    }
  }
}

}  // namespace

void dsla_cpu(ThreadPool& pool, const DslaArgs& args) {
  const int n_kv = args.shape.n_kv;
  const auto tasks = static_cast<std::int64_t>(args.pieces.size()) * n_kv;
  pool.parallel_for(tasks, [&](std::int64_t task, int) {
    thread_local Workspace workspace;
    float* memory = workspace.floats(static_cast<std::size_t>(dsla_workspace(args.shape)));
    const DslaPiece& piece = args.pieces[static_cast<std::size_t>(task / n_kv)];
    const std::int64_t size = std::int64_t{args.shape.d_k} * args.shape.d_v;
    const auto index = static_cast<int>(task % n_kv);
    const DslaHead head{
        &args,
        piece.first_row,
        piece.rows,
        index,
        {piece.state + index * size, piece.state + ((args.shape.states - 1) * n_kv + index) * size}};
    run_parts(head, memory);
  });
}

}  // namespace dslad::kernels
