// How alike the two gates are, and the gradient that drives them apart (arXiv 2506.09316, the third term of
// the chained loss).
//
//   a_i = exp(log a_i) as in dsla.h;  cosine_t,h = a_1 . a_2 / (|a_1| |a_2|)  over the d_k channels of KV
//   head h returns the mean of cosine over all rows and heads, and adds scale * d(mean) / dz to dz.
#pragma once

#include <cstdint>

#include "kernels/dsla/dsla.h"

namespace dslad::kernels {

struct GateDiversityArgs {
  const float* z;  // gate logits without bias [rows, 2, n_kv, d_k], row stride z_stride
  std::int64_t z_stride;
  const float* gate_bias;  // [2, n_kv, d_k]
  std::int64_t rows;
  int n_kv, d_k;
  float scale;
  float* dz;  // as z; added to; null: only the mean is wanted
  std::int64_t dz_stride;
  float* d_gate_bias;  // [2, n_kv, d_k]; added to; null with dz
};

double gate_diversity_ref(const GateDiversityArgs& args);  // in double
double gate_diversity_cpu(ThreadPool& pool, const GateDiversityArgs& args);

}  // namespace dslad::kernels
