#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/loss/token_loss.h"

namespace dslad::kernels {
namespace {

std::vector<double> log_softmax(const float* logits, std::int64_t vocab) {
  const double largest = *std::max_element(logits, logits + vocab);
  double sum = 0;
  for (std::int64_t v = 0; v < vocab; ++v) sum += std::exp(logits[v] - largest);
  std::vector<double> result(logits, logits + vocab);
  for (double& value : result) value -= largest + std::log(sum);
  return result;
}

float to_nats(double loss) {
  return static_cast<float>(std::min<double>(loss, std::numeric_limits<float>::max()));
}

}  // namespace

void token_loss_ref(const TokenLossArgs& args) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    float* logits = args.logits + row * args.stride;
    const std::vector<double> log_p = log_softmax(logits, args.vocab);
    const std::int32_t label = args.labels[row];
    const double ce_scale = label == kNoLabel ? 0.0 : args.ce_scale[row];
    args.cross_entropy[row] = label == kNoLabel ? 0.0f : to_nats(-log_p[static_cast<std::size_t>(label)]);
    std::vector<double> log_t = log_p;
    if (args.teacher != nullptr) log_t = log_softmax(args.teacher + row * args.stride, args.vocab);
    const double kl_scale = args.teacher == nullptr ? 0.0 : args.kl_scale[row];
    double kl = 0;
    for (std::int64_t v = 0; v < args.vocab; ++v) {
      const auto at = static_cast<std::size_t>(v);
      const double p = std::exp(log_p[at]), t = std::exp(log_t[at]);
      if (t != 0) kl += t * (log_t[at] - log_p[at]);
      logits[v] = static_cast<float>(ce_scale * (p - (v == label ? 1.0 : 0.0)) + kl_scale * (p - t));
    }
    args.kl[row] = to_nats(kl);
  }
}

}  // namespace dslad::kernels
