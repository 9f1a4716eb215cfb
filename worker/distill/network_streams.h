// The buffers of a network's passes, and how many rows of logits stand in them at a time.
#pragma once

#include <algorithm>

#include "worker/distill/network.h"

namespace dslad::worker {

// Logits of this many numbers at a time, for teacher and student each, or of so many rows where a vocabulary
// is large: every piece reads the whole output projection, which few rows do not repay.
inline constexpr std::int64_t kLogitFloats = std::int64_t{1} << 21;
inline constexpr std::int64_t kLogitRows = 256;

inline std::int64_t logit_rows(const LlamaConfig& config, std::int64_t rows) {
  return std::min(std::max(kLogitFloats / config.vocab_size, kLogitRows), rows);
}

struct Network::Streams {
  Streams(const LlamaConfig& c, const StudentShape& shape, std::int64_t rows, FloatArena& arena)
      : teacher(arena.take(rows * c.hidden_size)),
        student(arena.take(rows * c.hidden_size)),
        target(arena.take(rows * c.hidden_size)),
        output(arena.take(rows * c.hidden_size)),
        gradient(arena.take(rows * c.hidden_size)),
        teacher_logits(arena.take(logit_rows(c, rows) * c.vocab_size)),
        student_logits(arena.take(logit_rows(c, rows) * c.vocab_size)),
        row_scales(arena.take(2 * rows)),
        row_losses(arena.take(2 * rows)),
        entropy(arena.take(rows * c.heads)),
        softmax(c, rows, arena),
        mlp(c, rows, arena),
        dsla(shape, rows, arena) {}

  float *teacher, *student;                // [rows, hidden] the two residual streams
  float* target;                           // [rows, hidden] what the trained layer should give
  float* output;                           // [rows, hidden] what it gives; final hidden states
  float* gradient;                         // [rows, hidden] of the student's stream
  float *teacher_logits, *student_logits;  // [logit_rows, vocab]
  float* row_scales;                       // [2, rows] weights of ce and kl in the gradient
  float* row_losses;                       // [2, rows] ce and kl
  float* entropy;                          // [rows, heads]
  SoftmaxScratch softmax;
  MlpScratch mlp;
  DslaScratch dsla;
};

}  // namespace dslad::worker
