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
    const DslaHead head{&args, &args.pieces[static_cast<std::size_t>(task / n_kv)],
                        static_cast<int>(task % n_kv)};
    if (head.piece->rows == 1) {
      dsla_step(head, memory);
    } else {
      dsla_chunks(head, memory);
    }
  });
}

}  // namespace dslad::kernels
