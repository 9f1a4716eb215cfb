// Rows of the table of embeddings, as float32.
//   out [rows, k] f32: row ids[i] of table [V, k], f32 or bf16, row by row; of drawn[j] where ids[i] is
//   drawn_id(j), and of row 0 where that is kNoToken. REQUIRES: ids[i] < V.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace dslad::kernels::cuda {

struct EmbedArgs {
  const std::int32_t* ids;    // [rows]
  const std::int32_t* drawn;  // null where no id is a drawn_id()
  std::int64_t rows;
  const void* table;
  DType dtype;
  std::int64_t k;
  float* out;
};

}  // namespace dslad::kernels::cuda
