#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/workspace.h"
#include "kernels/delta/delta_head.h"
#include "kernels/delta/delta_workspace.h"
#include "kernels/delta/sequence_delta_rule.h"
#include "kernels/dsla/sequence_trees.h"

namespace dslad::kernels {
namespace {

DeltaRuleArgs inputs(const SequenceDeltaRuleArgs& a) {
  return {a.shape, a.q,        a.q_stride, a.k, a.k_stride, a.v, a.v_stride,
          a.z,     a.z_stride, a.bias,     a.o, a.o_stride, {}};
}

std::int64_t head_state_floats(const DslaShape& shape) {
  return std::int64_t{shape.d_k} * shape.d_v;
}

std::int64_t delta_boundaries(const Segment& segment) {
  return (segment.rows + kDeltaChunk - 1) / kDeltaChunk + 1;
}

// What the gradient of one tree and KV head works in.
struct DeltaTreeMemory {
  DeltaTreeMemory(const DslaShape& shape, const SequenceTree& tree, float* memory) {
    std::int64_t longest = 0;
    for (const Segment* child : tree.children) longest = std::max(longest, delta_boundaries(*child));
    const std::int64_t state = head_state_floats(shape);
    for (auto [part, count] : {std::pair{&chunk, delta_gradient_workspace(shape)},
                               {&root_states, delta_boundaries(*tree.root) * state},
                               {&child_states, longest * state},
                               {&d_root, state},
                               {&d_child, state}}) {
      *part = at_float(memory, size);
      size += count;
    }
  }

  float* chunk = nullptr;                                 // first, for it wants the memory's alignment
  float *root_states = nullptr, *child_states = nullptr;  // [boundaries][d_k, d_v]
  float *d_root = nullptr, *d_child = nullptr;            // [d_k, d_v]
  std::int64_t size = 0;
};

struct DeltaTreeGradient {
  const SequenceDeltaRuleBackwardArgs* args;
  const DeltaRuleArgs* in;
  const SequenceTree* tree;
  int head;
  double* d_bias;  // [2]

  // Children come first: what they leave is the gradient by the state at the root's end.
  void run(const DeltaTreeMemory& memory) const {
    const std::int64_t size = head_state_floats(in->shape);
    std::fill_n(memory.root_states, size, 0.0f);
    std::fill_n(memory.d_root, size, 0.0f);
    const DeltaHead root = head_of(*tree->root);
    delta_boundary_states(root, memory.root_states, memory.chunk);
    const float* const root_end = memory.root_states + (delta_boundaries(*tree->root) - 1) * size;
    for (const Segment* segment : tree->children) {
      const DeltaHead child = head_of(*segment);
      std::copy_n(root_end, size, memory.child_states);
      std::fill_n(memory.d_child, size, 0.0f);
      delta_boundary_states(child, memory.child_states, memory.chunk);
      delta_chunk_gradients({args, child}, memory.child_states, memory.d_child, d_bias, memory.chunk);
      std::transform(memory.d_child, memory.d_child + size, memory.d_root, memory.d_root, std::plus<>());
    }
    delta_chunk_gradients({args, root}, memory.root_states, memory.d_root, d_bias, memory.chunk);
  }

  [[nodiscard]] DeltaHead head_of(const Segment& segment) const {
    return {in, segment.first_row, segment.rows, head};
  }
};

}  // namespace

void sequence_delta_rule_cpu(ThreadPool& pool, const SequenceDeltaRuleArgs& args) {
  const std::vector<SequenceTree> trees = sequence_trees(args.segments);
  const DeltaRuleArgs in = inputs(args);
  const int n_kv = args.shape.n_kv;
  const std::int64_t size = head_state_floats(args.shape), chunk = delta_workspace(args.shape);
  pool.parallel_for(static_cast<std::int64_t>(trees.size()) * n_kv, [&](std::int64_t task, int) {
    thread_local Workspace workspace;
    float* const memory = workspace.floats(static_cast<std::size_t>(chunk + 2 * size));
    float *const root_state = memory + chunk, *const child_state = root_state + size;
    const SequenceTree& tree = trees[static_cast<std::size_t>(task / n_kv)];
    const auto run = [&](const Segment& segment, float* state) {
      delta_chunks({&in, segment.first_row, segment.rows, static_cast<int>(task % n_kv)}, state, memory);
    };
    std::fill_n(root_state, size, 0.0f);
    run(*tree.root, root_state);
    for (const Segment* child : tree.children) {
      std::copy_n(root_state, size, child_state);
      run(*child, child_state);
    }
  });
}

void sequence_delta_rule_backward_cpu(ThreadPool& pool, const SequenceDeltaRuleBackwardArgs& args) {
  const DslaShape& shape = args.forward.shape;
  const std::vector<SequenceTree> trees = sequence_trees(args.forward.segments);
  const DeltaRuleArgs in = inputs(args.forward);
  std::int64_t floats = 0;
  for (const SequenceTree& tree : trees)
    floats = std::max(floats, DeltaTreeMemory(shape, tree, nullptr).size);
  // Each task's own sums, added up in the order of the trees.
  std::vector<double> sums(trees.size() * shape.n_kv * 2);
  pool.parallel_for(static_cast<std::int64_t>(trees.size()) * shape.n_kv, [&](std::int64_t task, int) {
    thread_local Workspace workspace;
    const SequenceTree& tree = trees[static_cast<std::size_t>(task / shape.n_kv)];
    const DeltaTreeMemory memory(shape, tree, workspace.floats(static_cast<std::size_t>(floats)));
    DeltaTreeGradient{&args, &in, &tree, static_cast<int>(task % shape.n_kv), sums.data() + 2 * task}.run(
        memory);
  });
  for (int head = 0; head < shape.n_kv; ++head) {
    for (int which = 0; which < 2; ++which) {
      double sum = 0;
      for (std::size_t tree = 0; tree < trees.size(); ++tree)
        sum += sums[(tree * shape.n_kv + head) * 2 + which];
      args.d_bias[which * shape.n_kv + head] += static_cast<float>(sum);
    }
  }
}

}  // namespace dslad::kernels
