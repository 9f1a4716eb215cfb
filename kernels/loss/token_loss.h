// Losses over the vocabulary, and their gradient by the logits, row by row.
//
//   p = softmax(logits), t = softmax(teacher)
//   cross_entropy = -log p[label]                     0 for a row whose label is kNoLabel
//   kl = sum_v t_v (log t_v - log p_v)                0 without teacher logits
//   d_logits = ce_scale (p - onehot(label)) + kl_scale (p - t),   written over the logits; without a label or
//              without teacher logits its term is 0
// The caller cuts a batch into pieces of rows, so that logits of a whole batch never exist at once.
// Everything is finite for finite logits of any size: losses stop growing at about 1e30. A row with NaN gives
// NaN. Rows are independent; a row's sums do not depend on the number of threads.
#pragma once

#include <cstdint>

namespace dslad::kernels {

class ThreadPool;

inline constexpr std::int32_t kNoLabel = -1;

struct TokenLossArgs {
  float* logits;         // [rows, vocab] f32, row stride `stride`; in: logits, out: d_logits
  const float* teacher;  // [rows, vocab], row stride `stride`; or null
  std::int64_t stride;
  std::int64_t rows, vocab;
  const std::int32_t* labels;  // [rows]; kNoLabel or < vocab
  const float* ce_scale;       // [rows] weight of the row's cross entropy in the gradient
  const float* kl_scale;       // [rows] the same for the divergence; ignored without teacher
  float* cross_entropy;        // [rows] nats, not scaled
  float* kl;                   // [rows] nats, not scaled
};

void token_loss_ref(const TokenLossArgs& args);  // in double
void token_loss_cpu(ThreadPool& pool, const TokenLossArgs& args);

}  // namespace dslad::kernels
