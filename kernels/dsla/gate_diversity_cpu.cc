#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/workspace.h"
#include "kernels/dsla/gate_diversity.h"

// clang-format off
#include "kernels/cpu/simd_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dsla/gate_diversity_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/cpu/for_lanes-inl.h"
#include "kernels/dsla/gates-inl.h"
// clang-format on

#ifndef DSLAD_KERNELS_DSLA_GATE_DIVERSITY_CPU_ONCE_
#define DSLAD_KERNELS_DSLA_GATE_DIVERSITY_CPU_ONCE_
namespace dslad::kernels {

// Some rows of one KV head.
struct DiversityTask {
  const GateDiversityArgs* args;
  int head;
  std::int64_t first, last;
  double* bias;  // [2, d_k] sum of dz; added to

  [[nodiscard]] std::int64_t channel(int i) const {
    return (std::int64_t{i} * args->n_kv + head) * args->d_k;
  }
};

}  // namespace dslad::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {

float dot(std::int64_t n, const float* a, const float* b) {
  float sum = 0;
  for_lanes(n, [&](auto d, std::int64_t j) HWY_ATTR {
    sum += hn::GetLane(hn::SumOfLanes(d, hn::Mul(hn::LoadU(d, a + j), hn::LoadU(d, b + j))));
  });
  return sum;
}

// u = a / |a|. The cosine does not see a common factor of a, so the largest gate is made 1: closed gates
// alone would underflow.
void unit_gates(const DiversityTask& task, std::int64_t row, int i, float* u) {
  const std::int64_t d_k = task.args->d_k;
  const float* z = task.args->z + row * task.args->z_stride + task.channel(i);
  const float* bias = task.args->gate_bias + task.channel(i);
  float largest = -std::numeric_limits<float>::infinity();
  for_lanes(d_k, [&](auto d, std::int64_t j) HWY_ATTR {
    const auto log_a = log_gate(d, hn::Add(hn::LoadU(d, z + j), hn::LoadU(d, bias + j)));
    hn::StoreU(log_a, d, u + j);
    largest = std::max(largest, hn::GetLane(hn::MaxOfLanes(d, log_a)));
  });
  for_lanes(d_k, [&](auto d, std::int64_t j) HWY_ATTR {
    hn::StoreU(hn::Exp(d, hn::Sub(hn::LoadU(d, u + j), hn::Set(d, largest))), d, u + j);
  });
  const float factor = 1.0f / std::sqrt(dot(d_k, u, u));
  for_lanes(d_k, [&](auto d, std::int64_t j)
                     HWY_ATTR { hn::StoreU(hn::Mul(hn::LoadU(d, u + j), hn::Set(d, factor)), d, u + j); });
}

// d cosine / d log a = own (other - cosine own), for unit vectors.
void add_gradient(const DiversityTask& task, std::int64_t row, int i, float cosine, const float* own,
                  const float* other, float* gradients) {
  const GateDiversityArgs& args = *task.args;
  const auto count = static_cast<float>(args.rows * args.n_kv);
  const float scale = args.scale / count;
  const float* z = args.z + row * args.z_stride + task.channel(i);
  const float* bias = args.gate_bias + task.channel(i);
  float* dz = args.dz + row * args.dz_stride + task.channel(i);
  for_lanes(args.d_k, [&](auto d, std::int64_t j) HWY_ATTR {
    const auto u = hn::LoadU(d, own + j);
    const auto away = hn::NegMulAdd(hn::Set(d, cosine), u, hn::LoadU(d, other + j));
    const auto slope = log_gate_slope(d, hn::Add(hn::LoadU(d, z + j), hn::LoadU(d, bias + j)));
    const auto gradient = hn::Mul(hn::Mul(hn::Set(d, scale), slope), hn::Mul(u, away));
    hn::StoreU(gradient, d, gradients + j);
    hn::StoreU(hn::Add(hn::LoadU(d, dz + j), gradient), d, dz + j);
  });
  for (int j = 0; j < args.d_k; ++j) task.bias[i * args.d_k + j] += double{gradients[j]};
}

// The sum of the cosines. workspace [3, d_k].
double diversity(const DiversityTask& task, float* workspace) {
  const std::int64_t d_k = task.args->d_k;
  float* one = workspace;
  float* two = one + d_k;
  float* gradients = two + d_k;
  double sum = 0;
  for (std::int64_t row = task.first; row < task.last; ++row) {
    unit_gates(task, row, 0, one);
    unit_gates(task, row, 1, two);
    const float cosine = dot(d_k, one, two);
    sum += double{cosine};
    if (task.args->dz == nullptr) continue;
    add_gradient(task, row, 0, cosine, one, two, gradients);
    add_gradient(task, row, 1, cosine, two, one, gradients);
  }
  return sum;
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(diversity);

double gate_diversity_cpu(ThreadPool& pool, const GateDiversityArgs& args) {
  // A fixed number of ranges: sums do not depend on the number of threads.
  constexpr std::int64_t kRanges = 16;
  const std::int64_t tasks = kRanges * args.n_kv;
  const std::int64_t step = (args.rows + kRanges - 1) / kRanges;
  const std::int64_t width = std::int64_t{2} * args.d_k;
  std::vector<double> cosines(static_cast<std::size_t>(tasks));
  std::vector<double> bias(static_cast<std::size_t>(tasks * width));
  pool.parallel_for(tasks, [&](std::int64_t i, int) {
    thread_local Workspace workspace;
    const std::int64_t first = std::min(args.rows, i / args.n_kv * step);
    const DiversityTask task{&args, static_cast<int>(i % args.n_kv), first, std::min(args.rows, first + step),
                             bias.data() + i * width};
    cosines[static_cast<std::size_t>(i)] =
        HWY_DYNAMIC_DISPATCH(diversity)(task, workspace.floats(3 * static_cast<std::size_t>(args.d_k)));
  });
  double sum = 0;
  for (const double cosine : cosines) sum += cosine;
  if (args.dz != nullptr) {
    for (std::int64_t j = 0; j < args.n_kv * width; ++j) {
      const std::int64_t head = j / args.d_k % args.n_kv;
      const std::int64_t place = j / (args.n_kv * args.d_k) * args.d_k + j % args.d_k;
      double total = 0;
      for (std::int64_t range = 0; range < kRanges; ++range) {
        total += bias[static_cast<std::size_t>((range * args.n_kv + head) * width + place)];
      }
      args.d_gate_bias[j] += static_cast<float>(total);
    }
  }
  return sum / (static_cast<double>(args.rows) * args.n_kv);
}

}  // namespace dslad::kernels
#endif
