#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "kernels/attention/attention.h"

namespace dslad::kernels {
namespace {

// One element of a page, whatever its type.
class PageElement {
 public:
  PageElement(const AttentionArgs& args, std::int32_t page, std::int64_t offset)
      : dtype_(args.layout.dtype),
        address_(static_cast<std::byte*>(args.pool) +
                 static_cast<std::size_t>(page) * args.layout.page_bytes() +
                 static_cast<std::size_t>(offset) * size_of(dtype_)) {}

  void set(float x) const {
    if (dtype_ == DType::kF32) {
      *reinterpret_cast<float*>(address_) = x;
    } else {
      *reinterpret_cast<bf16*>(address_) = to_bf16(x);
    }
  }
  [[nodiscard]] double get() const {
    return dtype_ == DType::kF32 ? *reinterpret_cast<float*>(address_)
                                 : to_float(*reinterpret_cast<bf16*>(address_));
  }

 private:
  DType dtype_;
  std::byte* address_;
};

PageElement key(const AttentionArgs& args, const AttentionPiece& piece, int head, std::int64_t token, int j) {
  return {args, piece.pages[token / kPageTokens], args.layout.k_offset(head, token % kPageTokens, j)};
}

PageElement value(const AttentionArgs& args, const AttentionPiece& piece, int head, std::int64_t token,
                  int j) {
  return {args, piece.pages[token / kPageTokens], args.layout.v_offset(head, token % kPageTokens, j)};
}

void append(const AttentionArgs& args, const AttentionPiece& piece) {
  const int d = args.layout.head_dim;
  for (std::int64_t r = 0; r < piece.rows; ++r) {
    for (int head = 0; head < args.layout.n_kv; ++head) {
      const std::int64_t source = (piece.first_row + r) * args.kv_stride + std::int64_t{head} * d;
      for (int j = 0; j < d; ++j) {
        key(args, piece, head, piece.context + r, j).set(args.k[source + j]);
        value(args, piece, head, piece.context + r, j).set(args.v[source + j]);
      }
    }
  }
}

void attend_row(const AttentionArgs& args, const AttentionPiece& piece, std::int64_t r, int head) {
  const int d = args.layout.head_dim;
  const int kv_head = head / (args.n_heads / args.layout.n_kv);
  const std::int64_t row = piece.first_row + r;
  const float* q = args.q + row * args.q_stride + std::int64_t{head} * d;
  const std::int64_t end = piece.context + r + 1;
  const std::int64_t begin = args.window == 0 ? 0 : std::max<std::int64_t>(0, end - args.window);
  std::vector<double> p(static_cast<std::size_t>(end - begin));
  for (std::size_t i = 0; i < p.size(); ++i) {
    for (int j = 0; j < d; ++j) p[i] += args.scale * q[j] * key(args, piece, kv_head, begin + i, j).get();
  }
  const double largest = *std::ranges::max_element(p);
  double sum = 0;
  for (double& x : p) sum += x = std::exp(x - largest);
  for (int j = 0; j < d; ++j) {
    double o = 0;
    for (std::size_t i = 0; i < p.size(); ++i)
      o += p[i] / sum * value(args, piece, kv_head, begin + i, j).get();
    args.o[row * args.o_stride + std::int64_t{head} * d + j] = static_cast<float>(o);
  }
}

}  // namespace

void attention_ref(const AttentionArgs& args) {
  for (const AttentionPiece& piece : args.pieces) append(args, piece);
  for (const AttentionPiece& piece : args.pieces) {
    for (std::int64_t r = piece.silent; r < piece.rows; ++r) {
      for (int head = 0; head < args.n_heads; ++head) attend_row(args, piece, r, head);
    }
  }
}

}  // namespace dslad::kernels
