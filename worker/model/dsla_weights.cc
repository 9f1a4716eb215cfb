#include "worker/model/dsla_weights.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "worker/model/dsla_layer.h"
#include "worker/model/weight_roles.h"

namespace dslad::worker {
namespace {

using kernels::WeightFormat;

using Parts = std::initializer_list<const std::vector<float>*>;

// Puts a layer's parts on the device, one below or behind the other, until there is no memory.
class LayerPacker {
 public:
  explicit LayerPacker(kernels::Device& device) : device_(device) {}

  // Each part of `columns` columns.
  Matrix matrix(Parts parts, std::int64_t columns, WeightFormat format) {
    std::int64_t rows = 0;
    for (const auto* part : parts) rows += std::ssize(*part) / columns;
    Matrix out = device_.make_matrix(rows, columns, format);
    if (out == nullptr) {
      enough_ = false;
      return out;
    }
    std::int64_t first = 0;
    for (const auto* part : parts) {
      const std::int64_t part_rows = std::ssize(*part) / columns;
      out->pack_rows(first, part_rows, part->data());
      first += part_rows;
    }
    return out;
  }

  kernels::Vector vector(Parts parts) {
    std::vector<float> values;
    for (const auto* part : parts) values.insert(values.end(), part->begin(), part->end());
    auto out = kernels::Vector::create(device_, values);
    if (!out) enough_ = false;
    return out ? *std::move(out) : kernels::Vector();
  }

  // Whether memory was enough for all.
  [[nodiscard]] bool enough() const { return enough_; }

 private:
  kernels::Device& device_;
  bool enough_ = true;
};

// softmax over the states, for each head; `alpha` is [2], [2, heads], or empty where there is one state.
std::vector<float> mixture(const std::vector<float>& alpha, std::size_t heads) {
  if (alpha.empty()) return std::vector<float>(heads, 1.0f);
  const std::size_t columns = alpha.size() / 2;
  std::vector<float> mix(2 * heads);
  for (std::size_t head = 0; head < heads; ++head) {
    const std::size_t column = columns == 1 ? 0 : head;
    const double apart = double{alpha[columns + column]} - alpha[column];
    mix[head] = static_cast<float>(1.0 / (1.0 + std::exp(apart)));
    mix[heads + head] = static_cast<float>(1.0 / (1.0 + std::exp(-apart)));
  }
  return mix;
}

}  // namespace

std::shared_ptr<const DslaWeights> undistilled_dsla(kernels::Device& device, const LlamaConfig& config,
                                                    int layer, WeightFormat format) {
  auto weights = std::make_shared<DslaWeights>();
  std::vector<float> history, recency;
  initial_gates(std::int64_t{config.kv_heads} * config.head_dim, config.hidden_size, layer, history, recency);
  const std::vector<float> bias(2 * static_cast<std::size_t>(config.kv_heads * config.head_dim), 0.0f);
  const std::vector<float> mix(std::size_t{2} * static_cast<std::size_t>(config.heads), 0.5f);
  LayerPacker packer(device);
  weights->gates = packer.matrix({&history, &recency}, config.hidden_size, gate_format(format));
  weights->gate_bias = packer.vector({&bias});
  weights->mix = packer.vector({&mix});
  return packer.enough() ? weights : nullptr;
}

std::shared_ptr<const DslaWeights> distilled_dsla(kernels::Device& device, const LlamaConfig& config,
                                                  const DslaVariant& variant, const DslaLayerTensors& tensors,
                                                  WeightFormat format) {
  const std::int64_t hidden = config.hidden_size, output_width = std::int64_t{config.heads} * config.head_dim;
  const std::vector<float> mix = mixture(tensors.alpha, static_cast<std::size_t>(config.heads));
  auto weights = std::make_shared<DslaWeights>();
  weights->distilled = true;
  weights->variant = variant;
  LayerPacker packer(device);
  weights->qkv = packer.matrix({&tensors.q, &tensors.k, &tensors.v}, hidden, format);
  weights->output = packer.matrix({&tensors.o}, output_width, format);
  weights->gates = packer.matrix({&tensors.g1, &tensors.g2}, hidden, gate_format(format));
  weights->gate_bias = packer.vector({&tensors.c1, &tensors.c2});
  weights->mix = packer.vector({&mix});
  weights->output_norm = packer.vector({&tensors.o_norm});
  weights->share = packer.vector({&tensors.share});
  weights->qkv_bias = packer.vector({&tensors.q_bias, &tensors.k_bias, &tensors.v_bias});
  weights->output_bias = packer.vector({&tensors.o_bias});
  weights->q_norm = packer.vector({&tensors.q_norm});
  weights->k_norm = packer.vector({&tensors.k_norm});
  return packer.enough() ? weights : nullptr;
}

}  // namespace dslad::worker
