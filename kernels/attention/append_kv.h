// Writes the keys and values of one piece's rows for one KV head into the sequence's pages.
// Internal to kernels/attention. Thread safety: distinct (piece, head) may run concurrently.
#pragma once

#include "kernels/attention/attention.h"

namespace dslad::kernels {

void append_kv(const AttentionArgs& args, const AttentionPiece& piece, int head);

}  // namespace dslad::kernels
