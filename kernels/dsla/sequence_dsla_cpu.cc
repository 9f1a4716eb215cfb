#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/workspace.h"
#include "kernels/dsla/gradient_head.h"
#include "kernels/dsla/sequence_dsla.h"
#include "kernels/dsla/sequence_trees.h"

namespace dslad::kernels {
namespace {

DslaArgs inputs(const SequenceDslaArgs& a) {
  return {a.shape, a.q,        a.q_stride,  a.k,   a.k_stride, a.v,        a.v_stride,
          a.z,     a.z_stride, a.gate_bias, a.mix, a.o,        a.o_stride, {}};
}

std::int64_t head_floats(const DslaShape& shape) {
  return shape.channels() * shape.d_v;
}

// A chunk's matrices, and the states of a root and of a child.
std::int64_t forward_floats(const DslaShape& shape) {
  return dsla_workspace(shape) + 2 * head_floats(shape);
}

std::int64_t boundaries(const Segment& segment) {
  return (segment.rows + kDslaChunk - 1) / kDslaChunk + 1;
}

// What the gradient of one tree and KV head works in.
struct TreeMemory {
  TreeMemory(const DslaShape& shape, const SequenceTree& tree, float* memory) {
    std::int64_t longest = 0;
    for (const Segment* child : tree.children) longest = std::max(longest, boundaries(*child));
    const std::int64_t head = head_floats(shape);
    for (auto [part, count] : {std::pair{&chunk, dsla_gradient_workspace(shape)},
                               {&root_states, boundaries(*tree.root) * head},
                               {&child_states, longest * head},
                               {&d_root, head},
                               {&d_child, head}}) {
      *part = at_float(memory, size);
      size += count;
    }
  }

  float* chunk = nullptr;                                 // first, for it wants the memory's alignment
  float *root_states = nullptr, *child_states = nullptr;  // [boundaries][d_v, W]
  float *d_root = nullptr, *d_child = nullptr;            // [d_v, W]
  std::int64_t size = 0;
};

struct TreeGradient {
  const SequenceDslaBackwardArgs* args;
  const DslaArgs* in;
  const SequenceTree* tree;
  int head;
  GradientSums sums;

  // Children come first: what they leave is the gradient by the state at the root's end.
  void run(const TreeMemory& memory) const {
    const std::int64_t size = head_floats(in->shape);
    std::fill_n(memory.root_states, size, 0.0f);
    std::fill_n(memory.d_root, size, 0.0f);
    const DslaHead root = head_of(*tree->root);
    dsla_boundary_states(root, memory.root_states, memory.chunk);
    const float* root_end = memory.root_states + (boundaries(*tree->root) - 1) * size;
    for (const Segment* segment : tree->children) {
      const DslaHead child = head_of(*segment);
      std::copy_n(root_end, size, memory.child_states);
      std::fill_n(memory.d_child, size, 0.0f);
      dsla_boundary_states(child, memory.child_states, memory.chunk);
      dsla_chunk_gradients({args, child}, memory.child_states, memory.d_child, sums, memory.chunk);
      std::transform(memory.d_child, memory.d_child + size, memory.d_root, memory.d_root, std::plus<>());
    }
    dsla_chunk_gradients({args, root}, memory.root_states, memory.d_root, sums, memory.chunk);
  }

  [[nodiscard]] DslaHead head_of(const Segment& segment) const {
    return {in, segment.first_row, segment.rows, head, {}};
  }
};

// Each task's own sums, added up in the order of the trees.
class TreeSums {
 public:
  TreeSums(const DslaShape& shape, std::size_t trees)
      : shape_(shape),
        trees_(trees),
        bias_(trees * static_cast<std::size_t>(shape.n_kv * shape.channels())),
        mix_(trees * static_cast<std::size_t>(shape.states * shape.n_heads)) {}

  GradientSums of(std::size_t tree, int head) {
    const std::size_t task = tree * shape_.n_kv + head;
    return {bias_.data() + task * static_cast<std::size_t>(shape_.channels()),
            mix_.data() + task * static_cast<std::size_t>(shape_.states * group())};
  }

  void add_to(float* d_gate_bias, float* d_mix) const {
    for (int head = 0; head < shape_.n_kv; ++head) {
      for (int i = 0; i < shape_.states; ++i) {
        float* bias = d_gate_bias + (std::int64_t{i} * shape_.n_kv + head) * shape_.d_k;
        for (int j = 0; j < shape_.d_k; ++j)
          bias[j] += total(bias_, head, shape_.states * shape_.d_k, i * shape_.d_k + j);
        float* mix = d_mix + std::int64_t{i} * shape_.n_heads + head * group();
        for (int g = 0; g < group(); ++g)
          mix[g] += total(mix_, head, shape_.states * group(), i * group() + g);
      }
    }
  }

 private:
  [[nodiscard]] int group() const { return shape_.n_heads / shape_.n_kv; }
  [[nodiscard]] float total(const std::vector<double>& sums, int head, int width, int place) const {
    double sum = 0;
    for (std::size_t tree = 0; tree < trees_; ++tree)
      sum += sums[(tree * shape_.n_kv + head) * width + place];
    return static_cast<float>(sum);
  }

  DslaShape shape_;
  std::size_t trees_;
  std::vector<double> bias_, mix_;  // [trees, n_kv, states, d_k], [trees, n_kv, states, group]
};

std::int64_t gradient_floats(const DslaShape& shape, std::span<const SequenceTree> trees) {
  std::int64_t floats = 0;
  for (const SequenceTree& tree : trees) floats = std::max(floats, TreeMemory(shape, tree, nullptr).size);
  return floats;
}

}  // namespace

std::size_t sequence_dsla_workspace_bytes(const DslaShape& shape, std::span<const Segment> segments) {
  const std::int64_t floats = forward_floats(shape) + gradient_floats(shape, sequence_trees(segments));
  return static_cast<std::size_t>(floats) * sizeof(float);
}

void sequence_dsla_cpu(ThreadPool& pool, const SequenceDslaArgs& args) {
  const std::vector<SequenceTree> trees = sequence_trees(args.segments);
  const DslaArgs in = inputs(args);
  const int n_kv = args.shape.n_kv;
  const std::int64_t size = head_floats(args.shape);
  pool.parallel_for(static_cast<std::int64_t>(trees.size()) * n_kv, [&](std::int64_t task, int) {
    thread_local Workspace workspace;
    float* chunk = workspace.floats(static_cast<std::size_t>(forward_floats(args.shape)));
    float* root_state = chunk + dsla_workspace(args.shape);
    float* child_state = root_state + size;
    const SequenceTree& tree = trees[static_cast<std::size_t>(task / n_kv)];
    const auto run = [&](const Segment& segment, float* state) {
      float* const last = state + (args.shape.states - 1) * (size / args.shape.states);
      dsla_chunks({&in, segment.first_row, segment.rows, static_cast<int>(task % n_kv), {state, last}},
                  chunk);
    };
    std::fill_n(root_state, size, 0.0f);
    run(*tree.root, root_state);
    for (const Segment* child : tree.children) {
      std::copy_n(root_state, size, child_state);
      run(*child, child_state);
    }
  });
}

void sequence_dsla_backward_cpu(ThreadPool& pool, const SequenceDslaBackwardArgs& args) {
  const DslaShape& shape = args.forward.shape;
  const std::vector<SequenceTree> trees = sequence_trees(args.forward.segments);
  const DslaArgs in = inputs(args.forward);
  const auto floats = static_cast<std::size_t>(gradient_floats(shape, trees));
  TreeSums sums(shape, trees.size());
  pool.parallel_for(static_cast<std::int64_t>(trees.size()) * shape.n_kv, [&](std::int64_t task, int) {
    thread_local Workspace workspace;
    const auto tree = static_cast<std::size_t>(task / shape.n_kv);
    const auto head = static_cast<int>(task % shape.n_kv);
    const TreeMemory memory(shape, trees[tree], workspace.floats(floats));
    TreeGradient{&args, &in, &trees[tree], head, sums.of(tree, head)}.run(memory);
  });
  sums.add_to(args.d_gate_bias, args.d_mix);
}

}  // namespace dslad::kernels
