#include "worker/model/dsla_weights.h"

#include <cmath>
#include <random>

namespace dslad::worker {

std::shared_ptr<const DslaWeights> undistilled_dsla(const LlamaConfig& config, int layer,
                                                    kernels::DType dtype) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t gate_width = std::int64_t{config.kv_heads} * config.head_dim;
  auto weights = std::make_shared<DslaWeights>();
  weights->gates = kernels::PackedMatrix(2 * gate_width, hidden, dtype);
  if (weights->gates.data() == nullptr) return nullptr;
  weights->gate_bias.assign(static_cast<std::size_t>(2 * gate_width), 0.0f);
  weights->mix.assign(std::size_t{2} * static_cast<std::size_t>(config.heads), 0.5f);

  std::mt19937_64 random(static_cast<std::uint64_t>(layer));
  const double bound = 1.0 / std::sqrt(static_cast<double>(hidden));
  std::vector<float> row(static_cast<std::size_t>(hidden));
  for (std::int64_t i = 0; i < gate_width; ++i) {
    std::fill(row.begin(), row.end(), 0.0f);
    if (i < hidden) row[static_cast<std::size_t>(i)] = 1.0f;
    weights->gates.pack_rows(i, 1, row.data());
    for (float& value : row) {
      // The top 53 bits as a double in [0, 1): the same on every standard library.
      value = static_cast<float>((static_cast<double>(random() >> 11) * 0x1p-53 * 2.0 - 1.0) * bound);
    }
    weights->gates.pack_rows(gate_width + i, 1, row.data());
  }
  return weights;
}

}  // namespace dslad::worker
