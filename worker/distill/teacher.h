// A teacher's weights as training reads them: row-major and frozen.
//
// The engine's packed weights serve one product only, x W^T; gradients need W itself too. Immutable once
// loaded: safe from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/training_backend.h"
#include "worker/model/config.h"

namespace dslad::worker {

// [rows, columns] in a backend's memory.
class FrozenMatrix {
 public:
  FrozenMatrix() = default;
  FrozenMatrix(kernels::TrainingBackend::Buffer data, std::int64_t rows, std::int64_t columns,
               kernels::DType dtype)
      : data_(std::move(data)), rows_(rows), columns_(columns), dtype_(dtype) {}

  [[nodiscard]] kernels::MatrixOperand operand() const { return {data_.get(), dtype_, columns_, false}; }
  [[nodiscard]] kernels::MatrixOperand transposed() const { return {data_.get(), dtype_, columns_, true}; }
  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] std::int64_t columns() const { return columns_; }
  // Row `row` as `columns()` floats.
  void copy_row(std::int64_t row, float* out) const;

 private:
  kernels::TrainingBackend::Buffer data_{nullptr, [](std::byte*) {}};
  std::int64_t rows_ = 0, columns_ = 0;
  kernels::DType dtype_ = kernels::DType::kF32;
};

struct TeacherLayer {
  std::vector<float> attention_norm;  // [hidden]
  FrozenMatrix qkv;                   // [(heads + 2 * kv_heads) * head_dim, hidden]: q, then k, then v
  FrozenMatrix output;                // [hidden, heads * head_dim]
  std::vector<float> mlp_norm;        // [hidden]
  FrozenMatrix gate_up;               // [2 * intermediate, hidden]: gate, then up
  FrozenMatrix down;                  // [hidden, intermediate]
  std::int64_t window = 0;            // tokens that a token sees; 0: all
  bool rotary = true;                 // whether q and k are rotated
  // Empty where the model's layers have none (config.h).
  std::vector<float> qkv_bias;        // [(heads + 2 * kv_heads) * head_dim]
  std::vector<float> output_bias;     // [hidden]
  std::vector<float> gate_up_bias;    // [2 * intermediate]
  std::vector<float> down_bias;       // [hidden]
  std::vector<float> q_norm, k_norm;  // [head_dim]
};

struct Teacher {
  LlamaConfig config;
  std::string digest;  // as ModelWeights::digest
  FrozenMatrix embedding;
  FrozenMatrix lm_head;  // empty when tied
  std::vector<TeacherLayer> layers;
  std::vector<float> final_norm;  // [hidden]

  [[nodiscard]] const FrozenMatrix& output_projection() const {
    return config.tie_word_embeddings ? embedding : lm_head;
  }
};

// Reads the Hugging Face directory `dir`, matrices in `dtype`. Errors name the file and the tensor.
Result<std::shared_ptr<const Teacher>> load_teacher(const std::filesystem::path& dir,
                                                    kernels::TrainingBackend& backend, kernels::DType dtype);

}  // namespace dslad::worker
