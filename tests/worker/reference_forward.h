// A Llama with converted layers, in double, one token after the other and straight from the formulas: the
// truth for Forward. Of weights on the CPU. Slow, without caches, batches or packing.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "worker/model/dsla_layer.h"
#include "worker/model/weights.h"

namespace dslad::worker::testing {

using Vector = std::vector<double>;

struct ReferenceLayer {
  DslaLayerTensors tensors;
  DslaVariant variant;
};

class ReferenceForward {
 public:
  // `converted`: by layer; the other layers are softmax attention.
  ReferenceForward(const ModelWeights& weights, std::map<int, ReferenceLayer> converted)
      : weights_(weights), converted_(std::move(converted)) {}

  // The logits after each token.
  [[nodiscard]] std::vector<Vector> logits(const std::vector<std::int32_t>& ids) const;

 private:
  [[nodiscard]] const LlamaConfig& c() const { return weights_.config; }

  [[nodiscard]] Vector normalized(const Vector& x, std::span<const float> weight) const;
  void normalize(double* x, std::int64_t n, std::span<const float> weight) const;
  // Rotates each head of x, which belongs to the token at `position`, where the layer rotates.
  void rotate(int layer, Vector& x, std::size_t position) const;
  // Every head_dim values of x; as they are where the model has no such norms.
  void normalize_heads(Vector& x, std::span<const float> weight) const;
  void map_features(const DslaVariant& variant, Vector& x) const;
  [[nodiscard]] static Vector softmax_pairs(const Vector& x, std::size_t d);
  // The first head_dim channels of each head of q or k.
  [[nodiscard]] Vector first_channels(const DslaVariant& variant, const Vector& x) const;
  void attend(int layer, std::vector<Vector>& rows) const;
  [[nodiscard]] std::vector<Vector> softmax_attention(int layer, const std::vector<Vector>& x) const;
  // Of one query over the tokens from `first`.
  [[nodiscard]] Vector softmax_heads(const Vector& query, const std::vector<Vector>& keys,
                                     const std::vector<Vector>& values, std::size_t first,
                                     std::size_t sinks) const;
  // kernels/dsla/dsla.h, with what the variant adds.
  [[nodiscard]] std::vector<Vector> linear_attention(int number, const ReferenceLayer& layer,
                                                     const std::vector<Vector>& x) const;
  // A token's q, k and v as the states see them.
  struct Projected {
    const Vector *q, *k, *v;
  };
  // What one token does to the states and reads of them; adds to `heads`. By dsla.h, and by delta_rule.h.
  void add_to_states(const ReferenceLayer& layer, const Vector& x, const Projected& in, Vector (&states)[2],
                     Vector& heads) const;
  void follow_delta_rule(const ReferenceLayer& layer, const Vector& x, const Projected& in, Vector& state,
                         Vector& heads) const;
  [[nodiscard]] static double mixture(const DslaLayerTensors& w, int state, std::int64_t head);
  void feed_forward(int layer, std::vector<Vector>& rows) const;

  const ModelWeights& weights_;
  std::map<int, ReferenceLayer> converted_;
};

}  // namespace dslad::worker::testing
