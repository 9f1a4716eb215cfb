#include "kernels/attention/append_kv.h"

#include <cstddef>

namespace dslad::kernels {
namespace {

void store(float x, float* to) {
  *to = x;
}

void store(float x, bf16* to) {
  *to = to_bf16(x);
}

template <class T>
void append(const AttentionArgs& args, const AttentionPiece& piece, int head) {
  const KvLayout& layout = args.layout;
  for (std::int64_t r = 0; r < piece.rows; ++r) {
    const std::int64_t token = piece.context + r;
    const auto page = static_cast<std::size_t>(piece.pages[token / kPageTokens]);
    T* base = reinterpret_cast<T*>(static_cast<std::byte*>(args.pool) + page * layout.page_bytes());
    const std::int64_t source = (piece.first_row + r) * args.kv_stride + std::int64_t{head} * layout.head_dim;
    const std::int64_t slot = token % kPageTokens;
    for (int j = 0; j < layout.head_dim; ++j) {
      store(args.k[source + j], base + layout.k_offset(head, slot, j));
      store(args.v[source + j], base + layout.v_offset(head, slot, j));
    }
  }
}

}  // namespace

void append_kv(const AttentionArgs& args, const AttentionPiece& piece, int head) {
  if (args.layout.dtype == DType::kF32) {
    append<float>(args, piece, head);
  } else {
    append<bf16>(args, piece, head);
  }
}

}  // namespace dslad::kernels
