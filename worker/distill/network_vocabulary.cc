// From final hidden states to losses over the vocabulary, and back: the largest products of a chained step.
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

}  // namespace

Losses Network::vocabulary_losses(const BlockContext& context, const LossWeights& weights, bool with_teacher,
                                  double scale, bool with_gradients) {
  const LlamaConfig& c = teacher_->config;
  const TrainingBatch& batch = *context.batch;
  const std::int64_t rows = batch.rows(), hidden = c.hidden_size, vocab = c.vocab_size;
  const auto eps = static_cast<float>(c.rms_norm_eps);
  const RowWeights share(batch);
  Streams& s = *streams_;
  for (std::int64_t row = 0; row < rows; ++row) {
    s.row_scales[row] = static_cast<float>(weights.ce * scale * share.ce(row));
    s.row_scales[rows + row] = static_cast<float>(weights.kl * scale * share.kl(row));
  }
  // Final hidden states: the student's in `output`, whose rows become gradients piece by piece; the teacher's
  // in place.
  backend_.rms_norm({s.student, hidden, teacher_->final_norm.data(), s.output, hidden, rows, hidden, eps});
  if (with_teacher) {
    backend_.rms_norm({s.teacher, hidden, teacher_->final_norm.data(), s.teacher, hidden, rows, hidden, eps});
  }
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
  for (std::int64_t first = 0; first < rows; first += piece) {
    const std::int64_t count = std::min(piece, rows - first);
    float* states = s.output + first * hidden;
    logits(states, count, s.student_logits);
    if (with_teacher) logits(s.teacher + first * hidden, count, s.teacher_logits);
    backend_.token_loss({s.student_logits, with_teacher ? s.teacher_logits : nullptr, vocab, count, vocab,
                         batch.labels.data() + first, s.row_scales + first, s.row_scales + rows + first,
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
  for (std::int64_t row = 0; row < rows; ++row) {
    losses.ce += share.ce(row) * static_cast<double>(s.row_losses[row]);
    if (with_teacher) losses.kl += share.kl(row) * static_cast<double>(s.row_losses[rows + row]);
  }
  losses.total = weights.ce * losses.ce + weights.kl * losses.kl;
  if (with_gradients) {
    std::fill_n(s.gradient, rows * hidden, 0.0f);
    backend_.rms_norm_backward({s.student, hidden, teacher_->final_norm.data(), s.output, hidden, s.gradient,
                                hidden, nullptr, rows, hidden, eps});
  }
  return losses;
}

}  // namespace dslad::worker
