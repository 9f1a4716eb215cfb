// From final hidden states to losses over the vocabulary, and back: the largest products of a chained step.
#include <algorithm>

#include "worker/distill/network.h"
#include "worker/distill/network_streams.h"

namespace dslad::worker {

using kernels::DType;

namespace {

// What each row is worth in the means: labelled rows alike, divergence by the batch's weights.
class RowWeights {
 public:
  explicit RowWeights(const TrainingBatch& batch) : batch_(batch) {
    for (const std::int32_t label : batch.labels) labelled_ += label != kernels::kNoLabel ? 1.0 : 0.0;
    for (const float weight : batch.kl_weight) weight_ += static_cast<double>(weight);
  }
  [[nodiscard]] double ce(std::int64_t row) const {
    return batch_.labels[static_cast<std::size_t>(row)] == kernels::kNoLabel ? 0.0 : 1.0 / labelled_;
  }
  [[nodiscard]] double kl(std::int64_t row) const {
    return weight_ > 0 ? static_cast<double>(batch_.kl_weight[static_cast<std::size_t>(row)]) / weight_ : 0.0;
  }

 private:
  const TrainingBatch& batch_;
  double labelled_ = 0, weight_ = 0;
};

// The rows that count in a mean, ascending. Nobody asks for the others' logits.
std::vector<std::int64_t> counted_rows(const RowWeights& share, std::int64_t rows, bool with_teacher) {
  std::vector<std::int64_t> counted;
  for (std::int64_t row = 0; row < rows; ++row) {
    if (share.ce(row) > 0 || (with_teacher && share.kl(row) > 0)) counted.push_back(row);
  }
  return counted;
}

// Moves these rows of `states` [.., width] to its beginning.
void gather(std::span<const std::int64_t> counted, std::int64_t width, float* states) {
  float* to = states;
  for (const std::int64_t row : counted) {
    if (to != states + row * width) std::copy_n(states + row * width, width, to);
    to += width;
  }
}

// Moves them back, and fills the others of the `rows` with zeros.
void scatter(std::span<const std::int64_t> counted, std::int64_t rows, std::int64_t width, float* states) {
  auto next = std::ssize(counted) - 1;
  for (std::int64_t row = rows - 1; row >= 0; --row) {
    if (next < 0 || counted[static_cast<std::size_t>(next)] != row) {
      std::fill_n(states + row * width, width, 0.0f);
    } else {
      if (next != row) std::copy_n(states + next * width, width, states + row * width);
      --next;
    }
  }
}

}  // namespace

Losses Network::vocabulary_losses(const BlockContext& context, const LossWeights& weights, bool with_teacher,
                                  double scale, bool with_gradients) {
  const LlamaConfig& c = teacher_->config;
  const TrainingBatch& batch = *context.batch;
  const std::int64_t rows = batch.rows(), hidden = c.hidden_size, vocab = c.vocab_size;
  const auto eps = static_cast<float>(c.rms_norm_eps);
  const RowWeights share(batch);
  const std::vector<std::int64_t> rows_counted = counted_rows(share, rows, with_teacher);
  const std::int64_t counted = std::ssize(rows_counted);
  Streams& s = *streams_;
  std::vector<std::int32_t> labels;
  labels.reserve(rows_counted.size());
  for (std::int64_t i = 0; i < counted; ++i) {
    const std::int64_t row = rows_counted[static_cast<std::size_t>(i)];
    labels.push_back(batch.labels[static_cast<std::size_t>(row)]);
    s.row_scales[i] = static_cast<float>(weights.ce * scale * share.ce(row));
    s.row_scales[rows + i] = static_cast<float>(weights.kl * scale * share.kl(row));
  }
  // Final hidden states of the rows that count: the student's in `output`, whose rows become gradients piece
  // by piece; the teacher's in place.
  backend_.rms_norm({s.student, hidden, teacher_->final_norm.data(), s.output, hidden, rows, hidden, eps});
  if (with_teacher) {
    backend_.rms_norm({s.teacher, hidden, teacher_->final_norm.data(), s.teacher, hidden, rows, hidden, eps});
  }
  gather(rows_counted, hidden, s.output);
  if (with_teacher) gather(rows_counted, hidden, s.teacher);
  const FrozenMatrix& head = teacher_->output_projection();
  const auto logits = [&](const float* states, std::int64_t count, float* out) {
    backend_.matmul({count,
                     vocab,
                     hidden,
                     {states, DType::kF32, hidden},
                     head.transposed(),
                     out,
                     vocab,
                     false,
                     compute_});
  };
  const std::int64_t piece = logit_rows(c, rows_);
  for (std::int64_t first = 0; first < counted && !stopped(); first += piece) {
    const std::int64_t count = std::min(piece, counted - first);
    float* states = s.output + first * hidden;
    logits(states, count, s.student_logits);
    if (with_teacher) logits(s.teacher + first * hidden, count, s.teacher_logits);
    backend_.token_loss({s.student_logits, with_teacher ? s.teacher_logits : nullptr, vocab, count, vocab,
                         labels.data() + first, s.row_scales + first, s.row_scales + rows + first,
                         s.row_losses + first, s.row_losses + rows + first});
    if (with_gradients) {
      backend_.matmul({count,
                       hidden,
                       vocab,
                       {s.student_logits, DType::kF32, vocab},
                       head.operand(),
                       states,
                       hidden,
                       false,
                       compute_});
    }
  }
  Losses losses;
  for (std::int64_t i = 0; i < counted; ++i) {
    const std::int64_t row = rows_counted[static_cast<std::size_t>(i)];
    losses.ce += share.ce(row) * static_cast<double>(s.row_losses[i]);
    if (with_teacher) losses.kl += share.kl(row) * static_cast<double>(s.row_losses[rows + i]);
  }
  losses.total = weights.ce * losses.ce + weights.kl * losses.kl;
  if (with_gradients) {
    scatter(rows_counted, rows, hidden, s.output);
    std::fill_n(s.gradient, rows * hidden, 0.0f);
    backend_.rms_norm_backward({s.student, hidden, teacher_->final_norm.data(), s.output, hidden, s.gradient,
                                hidden, nullptr, rows, hidden, eps});
  }
  return losses;
}

}  // namespace dslad::worker
