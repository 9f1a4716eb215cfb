#include "kernels/cuda/step.h"

#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/cuda/operations.h"

namespace dslad::kernels::cuda {
namespace {

// Appends what each operation is called with. Every structure is taken apart, so that one that gets another
// member no longer compiles here.
class Key {
 public:
  explicit Key(std::string& key) : key_(key) {}

  template <class... Values>
  void all(const Values&... values) {
    (add(values), ...);
  }

  template <class Value>
  void add(const Value& value) {
    static_assert(std::is_scalar_v<Value>, "a structure has padding: take it apart below");
    if constexpr (std::is_pointer_v<Value>) {
      add(reinterpret_cast<std::uintptr_t>(value));
    } else {
      key_.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
  }
  template <class T>
  void add(const std::span<T>& values) {
    all(values.data(), values.size());
  }

  void add(const EmbedArgs& args) {
    const auto& [ids, drawn, rows, table, dtype, k, out] = args;
    all(ids, drawn, rows, table, dtype, k, out);
  }
  void add(const RmsNormArgs& args) {
    const auto& [x, x_stride, weight, y, y_stride, rows, width, eps, groups] = args;
    all(x, x_stride, weight, y, y_stride, rows, width, eps, groups);
  }
  void add(const RowBlock& block) {
    const auto& [first, rows, kind] = block;
    all(first, rows, kind);
  }
  void add(const GemmOnDevice& args) {
    const auto& [x, ldx, w, dtype, n, k, y, ldy, accumulate, blocks, rounded, results] = args;
    all(x, ldx, w, dtype, n, k, y, ldy, accumulate, rounded, results, blocks.size());
    for (const RowBlock& block : blocks) add(block);  // in host memory: by value
  }
  void add(const BiasArgs& args) {
    const auto& [y, y_stride, bias, rows, width] = args;
    all(y, y_stride, bias, rows, width);
  }
  void add(const RopeOnDevice& args) {
    const auto& [rope, cos, sin, half] = args;
    const auto& [x, x_stride, positions, rows, heads, table, inverse] = rope;
    all(x, x_stride, positions, rows, heads, inverse, cos, sin, half);
  }
  void add(const KvLayout& layout) {
    const auto& [dtype, n_kv, head_dim, pairs] = layout;
    all(dtype, n_kv, head_dim, pairs);
  }
  void add(const AttentionOnDevice& args) {
    const auto& [attention, most_rows, most_tokens, workspace, decoding, at_once] = args;
    const auto& [q, q_stride, k, v, kv_stride, o, o_stride, n_heads, scale, pool, layout, pieces, window] =
        attention;
    all(q, q_stride, k, v, kv_stride, o, o_stride, n_heads, scale, pool, layout, pieces, window, most_rows,
        most_tokens, workspace, decoding, at_once);
  }
  void add(const WindowShape& shape) {
    const auto& [n_heads, n_kv, head_dim, window, sinks] = shape;
    all(n_heads, n_kv, head_dim, window, sinks);
  }
  void add(const WindowOnDevice& args) {
    const auto& [attention, most_rows] = args;
    const auto& [shape, q, q_stride, k, v, kv_stride, o, o_stride, scale, pieces] = attention;
    all(shape, q, q_stride, k, v, kv_stride, o, o_stride, scale, pieces, most_rows);
  }
  void add(const DslaShape& shape) {
    const auto& [n_heads, n_kv, d_k, d_v, states] = shape;
    all(n_heads, n_kv, d_k, d_v, states);
  }
  void add(const DslaOnDevice& args) {
    const auto& [dsla, most_rows, workspace, single_rows] = args;
    const auto& [shape, q, q_stride, k, k_stride, v, v_stride, z, z_stride, gate_bias, mix, o, o_stride,
                 pieces] = dsla;
    all(shape, q, q_stride, k, k_stride, v, v_stride, z, z_stride, gate_bias, mix, o, o_stride, pieces,
        most_rows, workspace, single_rows);
  }
  void add(const DeltaRuleOnDevice& args) {
    const auto& [delta, most_rows, workspace, single_rows] = args;
    const auto& [shape, q, q_stride, k, k_stride, v, v_stride, z, z_stride, bias, o, o_stride, pieces] =
        delta;
    all(shape, q, q_stride, k, k_stride, v, v_stride, z, z_stride, bias, o, o_stride, pieces, most_rows,
        workspace, single_rows);
  }
  void add(const FeatureMapArgs& args) {
    const auto& [map, x, x_stride, y, y_stride, rows, heads, d] = args;
    all(map, x, x_stride, y, y_stride, rows, heads, d);
  }
  void add(const HeadShareArgs& args) {
    const auto& [x, x_stride, share, y, y_stride, rows, heads, d] = args;
    all(x, x_stride, share, y, y_stride, rows, heads, d);
  }
  void add(const SwiGluArgs& args) {
    const auto& [gate_up, x_stride, y, y_stride, rows, width] = args;
    all(gate_up, x_stride, y, y_stride, rows, width);
  }
  void add(const GatherOnDevice& args) {
    const auto& [from, width, rows, to] = args.args;
    all(from, width, rows, to);
  }
  void add(const NarrowHeadsArgs& args) {
    const auto& [x, x_stride, rows, heads, channels, kept, tail] = args;
    all(x, x_stride, rows, heads, channels, kept, tail);
  }
  void add(const SampleOnDevice& args) {
    const auto& [rows, count, tokens] = args;
    all(rows, count, tokens);
  }
  void add(const LogProbabilityOnDevice& args) {
    const auto& [rows, count, nats] = args;
    all(rows, count, nats);
  }

 private:
  std::string& key_;
};

struct Queue {
  Operations& on;

  void operator()(const EmbedArgs& args) const { on.embed(args); }
  void operator()(const RmsNormArgs& args) const { on.rms_norm(args); }
  void operator()(const GemmOnDevice& args) const { on.gemm(args); }
  void operator()(const BiasArgs& args) const { on.bias(args); }
  void operator()(const RopeOnDevice& args) const { on.rope(args); }
  void operator()(const AttentionOnDevice& args) const { on.attention(args); }
  void operator()(const WindowOnDevice& args) const { on.window_attention(args); }
  void operator()(const DslaOnDevice& args) const { on.dsla(args); }
  void operator()(const DeltaRuleOnDevice& args) const { on.delta_rule(args); }
  void operator()(const FeatureMapArgs& args) const { on.feature_map(args); }
  void operator()(const HeadShareArgs& args) const { on.head_share(args); }
  void operator()(const SwiGluArgs& args) const { on.swiglu(args); }
  void operator()(const GatherOnDevice& args) const { on.gather(args); }
  void operator()(const NarrowHeadsArgs& args) const { on.narrow_heads(args); }
  void operator()(const SampleOnDevice& args) const { on.sample(args); }
  void operator()(const LogProbabilityOnDevice& args) const { on.log_probabilities(args); }
};

}  // namespace

void Step::add(Operation operation) {
  if (auto* const product = std::get_if<GemmOnDevice>(&operation)) {
    blocks_.emplace_back(product->blocks.begin(), product->blocks.end());
    product->blocks = blocks_.back();
  }
  Key key(key_);
  key.add(operation.index());
  std::visit([&key](const auto& args) { key.add(args); }, operation);
  operations_.push_back(operation);
}

void Step::clear() {
  operations_.clear();
  blocks_.clear();
  key_.clear();
}

void Step::run(Operations& operations) const {
  for (const Operation& operation : operations_) std::visit(Queue{operations}, operation);
}

}  // namespace dslad::kernels::cuda
