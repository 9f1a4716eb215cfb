#include <vector>

#include "kernels/dsla/head_share.h"

namespace dslad::kernels {

void head_share_ref(const HeadShareArgs& args) {
  for (std::int64_t t = 0; t < args.rows; ++t) {
    for (std::int64_t i = 0; i < std::int64_t{args.heads} * args.d; ++i) {
      args.y[t * args.y_stride + i] += args.share[i / args.d] * args.x[t * args.x_stride + i];
    }
  }
}

void head_share_backward_ref(const HeadShareBackwardArgs& args) {
  std::vector<double> d_share(static_cast<std::size_t>(args.heads));
  for (std::int64_t t = 0; t < args.rows; ++t) {
    for (std::int64_t i = 0; i < std::int64_t{args.heads} * args.d; ++i) {
      const std::int64_t head = i / args.d;
      const double dy = static_cast<double>(args.dy[t * args.dy_stride + i]);
      d_share[static_cast<std::size_t>(head)] += dy * static_cast<double>(args.x[t * args.x_stride + i]);
      args.dx[t * args.dx_stride + i] = static_cast<float>(static_cast<double>(args.share[head]) * dy);
    }
  }
  for (int head = 0; head < args.heads; ++head) {
    args.d_share[head] += static_cast<float>(d_share[static_cast<std::size_t>(head)]);
  }
}

}  // namespace dslad::kernels
