#include "worker/model/dsla_weights.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "worker/model/dsla_layer.h"
#include "worker/model/weight_roles.h"

namespace dslad::worker {
namespace {

using kernels::PackedMatrix;
using kernels::WeightFormat;

// The matrices, each of `columns` columns, one below the other. False: no memory.
bool pack(std::initializer_list<const std::vector<float>*> parts, std::int64_t columns, WeightFormat format,
          PackedMatrix& out) {
  std::int64_t rows = 0;
  for (const auto* part : parts) rows += std::ssize(*part) / columns;
  out = PackedMatrix(rows, columns, format);
  if (out.data() == nullptr) return false;
  std::int64_t first = 0;
  for (const auto* part : parts) {
    const std::int64_t part_rows = std::ssize(*part) / columns;
    out.pack_rows(first, part_rows, part->data());
    first += part_rows;
  }
  return true;
}

// softmax over the two states, for each head; `alpha` is [2] or [2, heads].
std::vector<float> mixture(const std::vector<float>& alpha, std::size_t heads) {
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

std::shared_ptr<const DslaWeights> undistilled_dsla(const LlamaConfig& config, int layer,
                                                    WeightFormat format) {
  auto weights = std::make_shared<DslaWeights>();
  std::vector<float> history, recency;
  initial_gates(std::int64_t{config.kv_heads} * config.head_dim, config.hidden_size, layer, history, recency);
  if (!pack({&history, &recency}, config.hidden_size, gate_format(format), weights->gates)) return nullptr;
  weights->gate_bias.assign(static_cast<std::size_t>(weights->gates.n()), 0.0f);
  weights->mix.assign(std::size_t{2} * static_cast<std::size_t>(config.heads), 0.5f);
  return weights;
}

std::shared_ptr<const DslaWeights> distilled_dsla(const LlamaConfig& config, const DslaVariant& variant,
                                                  const DslaLayerTensors& tensors, WeightFormat format) {
  const std::int64_t hidden = config.hidden_size;
  auto weights = std::make_shared<DslaWeights>();
  weights->distilled = true;
  weights->variant = variant;
  const bool packed =
      pack({&tensors.q, &tensors.k, &tensors.v}, hidden, format, weights->qkv) &&
      pack({&tensors.o}, std::int64_t{config.heads} * config.head_dim, format, weights->output) &&
      pack({&tensors.g1, &tensors.g2}, hidden, gate_format(format), weights->gates);
  if (!packed) return nullptr;
  weights->gate_bias = tensors.c1;
  weights->gate_bias.insert(weights->gate_bias.end(), tensors.c2.begin(), tensors.c2.end());
  weights->mix = mixture(tensors.alpha, static_cast<std::size_t>(config.heads));
  weights->output_norm = tensors.o_norm;
  weights->share = tensors.share;
  for (const auto* part : {&tensors.q_bias, &tensors.k_bias, &tensors.v_bias}) {
    weights->qkv_bias.insert(weights->qkv_bias.end(), part->begin(), part->end());
  }
  weights->output_bias = tensors.o_bias;
  weights->q_norm = tensors.q_norm;
  weights->k_norm = tensors.k_norm;
  return weights;
}

}  // namespace dslad::worker
