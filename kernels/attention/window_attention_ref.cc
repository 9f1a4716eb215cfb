#include <cmath>
#include <vector>

#include "kernels/attention/window_attention.h"
#include "kernels/attention/window_run.h"

namespace dslad::kernels {
namespace {

void attend_row(const WindowAttentionArgs& args, const WindowPiece& piece, std::int64_t r, int head) {
  const int d = args.shape.head_dim;
  const int kv_head = head / (args.shape.n_heads / args.shape.n_kv);
  const std::int64_t row = piece.first_row + r, end = piece.context + r + 1;
  const std::int64_t first = std::max<std::int64_t>(0, end - args.shape.window);
  const float* q = args.q + row * args.q_stride + std::int64_t{head} * d;
  std::vector<std::int64_t> seen;
  for (std::int64_t u = 0; u < std::min(args.shape.sinks, first); ++u) seen.push_back(u);
  for (std::int64_t u = first; u < end; ++u) seen.push_back(u);
  std::vector<double> p;
  for (const std::int64_t u : seen) {
    const WindowRun run = window_run(args, piece, kv_head, u, end);
    double score = 0;
    for (int j = 0; j < d; ++j) score += double{q[j]} * double{run.k[j * run.k_channel]};
    p.push_back(double{args.scale} * score);
  }
  const double largest = *std::ranges::max_element(p);
  double sum = 0;
  for (double& x : p) sum += x = std::exp(x - largest);
  for (int j = 0; j < d; ++j) {
    double o = 0;
    for (std::size_t i = 0; i < seen.size(); ++i)
      o += p[i] / sum * double{window_run(args, piece, kv_head, seen[i], end).v[j]};
    args.o[row * args.o_stride + std::int64_t{head} * d + j] = static_cast<float>(o);
  }
}

}  // namespace

void window_attention_ref(const WindowAttentionArgs& args) {
  for (const WindowPiece& piece : args.pieces) {
    for (std::int64_t r = 0; r < piece.rows; ++r) {
      for (int head = 0; head < args.shape.n_heads; ++head) attend_row(args, piece, r, head);
    }
    for (int kv_head = 0; kv_head < args.shape.n_kv; ++kv_head) store_window(args, piece, kv_head);
  }
}

}  // namespace dslad::kernels
