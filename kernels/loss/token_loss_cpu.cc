#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/parallel_rows.h"
#include "kernels/cpu/simd_targets.h"
#include "kernels/cpu/workspace.h"
#include "kernels/loss/token_loss.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/loss/token_loss_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "kernels/cpu/for_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Summed in float32; the sums of pieces are added in double, so that a long vocabulary costs no digits.
constexpr std::int64_t kPiece = 1024;
// Where a logit this far below the row's largest stands does not matter; further down float32 would overflow.
constexpr float kFarBelow = -1e30f;

float largest_logit(const float* logits, std::int64_t vocab) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto largest0 = hn::Set(d, logits[0]), largest1 = largest0;
  std::int64_t i = 0;
  for (; i + 2 * lanes <= vocab; i += 2 * lanes) {
    largest0 = hn::Max(largest0, hn::LoadU(d, logits + i));
    largest1 = hn::Max(largest1, hn::LoadU(d, logits + i + lanes));
  }
  float largest = hn::GetLane(hn::MaxOfLanes(d, hn::Max(largest0, largest1)));
  for (; i < vocab; ++i) largest = std::max(largest, logits[i]);
  return largest;
}

// NaN stays NaN.
template <class D>
HWY_INLINE hn::Vec<D> below_largest(D d, const float* logits, float largest) {
  const auto below = hn::Sub(hn::LoadU(d, logits), hn::Set(d, largest)), far = hn::Set(d, kFarBelow);
  return hn::IfThenElse(hn::Lt(below, far), far, below);
}

// exp(x), which Highway's is not for NaN: there it is 0, and a diverged model would go unnoticed.
template <class D>
HWY_INLINE hn::Vec<D> exp_or_nan(D d, hn::Vec<D> x) {
  return hn::Add(hn::Exp(d, x), hn::Sub(x, x));
}

template <class D>
HWY_INLINE void add_lanes(D d, float* sum, hn::Vec<D> value) {
  hn::StoreU(hn::Add(hn::LoadU(d, sum), value), d, sum);
}

double sum_of(const float* lanes) {
  double sum = 0;
  for (std::int64_t i = 0; i < HWY_MAX_BYTES / 4; ++i) sum += lanes[i];
  return sum;
}

// Of one row, with l the logits less their largest and e = exp(l); the same for the teacher.
struct RowSums {
  double student = 0;  // sum e
  double teacher = 0;  // sum e_teacher
  double between = 0;  // sum e_teacher (l_teacher - l)
};

// Leaves e in the place of the logits, and the teacher's in `softened`.
RowSums soften_row(float* logits, float largest, const float* teacher, float teacher_largest, float* softened,
                   std::int64_t vocab) {
  RowSums sums;
  for (std::int64_t first = 0; first < vocab; first += kPiece) {
    float student_sum[HWY_MAX_BYTES / 4] = {}, teacher_sum[HWY_MAX_BYTES / 4] = {},
                                      between[HWY_MAX_BYTES / 4] = {};
    for_lanes(std::min(kPiece, vocab - first), [&](auto d, std::int64_t i) HWY_ATTR {
      float* logit = logits + first + i;
      const auto l = below_largest(d, logit, largest), e = exp_or_nan(d, l);
      hn::StoreU(e, d, logit);
      add_lanes(d, student_sum, e);
      if (teacher == nullptr) return;
      const auto l_teacher = below_largest(d, teacher + first + i, teacher_largest);
      const auto e_teacher = exp_or_nan(d, l_teacher);
      hn::StoreU(e_teacher, d, softened + first + i);
      add_lanes(d, teacher_sum, e_teacher);
      add_lanes(d, between, hn::Mul(e_teacher, hn::Sub(l_teacher, l)));
    });
    sums.student += sum_of(student_sum);
    sums.teacher += sum_of(teacher_sum);
    sums.between += sum_of(between);
  }
  return sums;
}

// e p_factor - e_teacher t_factor in the place of e. e_teacher: null without a teacher.
void gradient_row(float* e, float p_factor, const float* e_teacher, float t_factor, std::int64_t vocab) {
  for_lanes(vocab, [&](auto d, std::int64_t i) HWY_ATTR {
    auto gradient = hn::Mul(hn::LoadU(d, e + i), hn::Set(d, p_factor));
    if (e_teacher != nullptr) {
      gradient = hn::NegMulAdd(hn::LoadU(d, e_teacher + i), hn::Set(d, t_factor), gradient);
    }
    hn::StoreU(gradient, d, e + i);
  });
}

float to_nats(double loss) {
  return static_cast<float>(std::clamp<double>(loss, 0.0, std::numeric_limits<float>::max()));
}

// softened [vocab]: room for what the teacher's row becomes.
void token_loss_row(const TokenLossArgs& args, std::int64_t row, float* softened) {
  float* logits = args.logits + row * args.stride;
  const float* teacher = args.teacher == nullptr ? nullptr : args.teacher + row * args.stride;
  const std::int32_t label = args.labels[row];
  const double largest = largest_logit(logits, args.vocab);
  const float teacher_largest = teacher == nullptr ? 0.0f : largest_logit(teacher, args.vocab);
  const double at_label = label == kNoLabel ? 0.0 : logits[label] - largest;
  const RowSums sums =
      soften_row(logits, static_cast<float>(largest), teacher, teacher_largest, softened, args.vocab);

  const double log_sum = std::log(sums.student);
  const float ce_scale = label == kNoLabel ? 0.0f : args.ce_scale[row];
  const float kl_scale = teacher == nullptr ? 0.0f : args.kl_scale[row];
  const double between = teacher == nullptr ? 0.0 : sums.between / sums.teacher;
  args.cross_entropy[row] = label == kNoLabel ? 0.0f : to_nats(log_sum - at_label);
  args.kl[row] = teacher == nullptr ? 0.0f : to_nats(between + log_sum - std::log(sums.teacher));

  const auto p_factor = static_cast<float>((double{ce_scale} + kl_scale) / sums.student);
  const float t_factor = teacher == nullptr ? 0.0f : static_cast<float>(kl_scale / sums.teacher);
  gradient_row(logits, p_factor, teacher == nullptr ? nullptr : softened, t_factor, args.vocab);
  if (label != kNoLabel) logits[label] -= ce_scale;
}

void token_loss_rows(const TokenLossArgs& args, std::int64_t first, std::int64_t last) {
  static thread_local Workspace workspace;
  const std::int64_t room = args.teacher == nullptr ? 0 : args.vocab;
  float* softened = workspace.floats(static_cast<std::size_t>(room));
  for (std::int64_t row = first; row < last; ++row) token_loss_row(args, row, softened);
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(token_loss_rows);

void token_loss_cpu(ThreadPool& pool, const TokenLossArgs& args) {
  parallel_rows(pool, args.rows, args.vocab, [&](std::int64_t first, std::int64_t last) {
    HWY_DYNAMIC_DISPATCH(token_loss_rows)(args, first, last);
  });
}

}  // namespace dslad::kernels
#endif
