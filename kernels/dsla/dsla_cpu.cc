#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/workspace.h"
#include "kernels/dsla/dsla.h"
#include "kernels/dsla/dsla_head.h"

namespace dslad::kernels {

void dsla_cpu(ThreadPool& pool, const DslaArgs& args) {
  const int n_kv = args.shape.n_kv;
  const auto tasks = static_cast<std::int64_t>(args.pieces.size()) * n_kv;
  pool.parallel_for(tasks, [&](std::int64_t task, int) {
    thread_local Workspace workspace;
    float* memory = workspace.floats(static_cast<std::size_t>(dsla_workspace(args.shape)));
    const DslaPiece& piece = args.pieces[static_cast<std::size_t>(task / n_kv)];
    const std::int64_t size = std::int64_t{args.shape.d_k} * args.shape.d_v;
    const auto index = static_cast<int>(task % n_kv);
    const DslaHead head{&args,
                        piece.first_row,
                        piece.rows,
                        index,
                        {piece.state + index * size, piece.state + (n_kv + index) * size}};
    if (head.rows == 1) {
      dsla_step(head, memory);
    } else {
      dsla_chunks(head, memory);
    }
  });
}

}  // namespace dslad::kernels
