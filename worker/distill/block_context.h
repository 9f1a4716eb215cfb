// What every part of a block needs to know about the step at hand. Borrows everything; a plain value.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/training_backend.h"
#include "worker/distill/batch.h"
#include "worker/model/config.h"

namespace dslad::worker {

struct BlockContext {
  kernels::TrainingBackend* backend;
  const LlamaConfig* config;
  const kernels::RopeTable* rope;
  kernels::DType compute;  // of the products' operands
  const TrainingBatch* batch;

  [[nodiscard]] std::int64_t rows() const { return batch->rows(); }

  // y [rows, n] = or += x [rows, k] W^T, with W given as its transposed operand.
  void product(const float* x, std::int64_t k, const kernels::MatrixOperand& w, float* y, std::int64_t n,
               bool accumulate = false) const {
    backend->matmul({rows(), n, k, {x, kernels::DType::kF32, k}, w, y, n, accumulate, compute});
  }

  // y [rows, bias.size()] += bias; none where it is empty.
  void add_bias(std::span<const float> bias, float* y, std::int64_t stride) const {
    if (!bias.empty()) backend->bias({y, stride, bias.data(), rows(), std::ssize(bias)});
  }
};

}  // namespace dslad::worker
