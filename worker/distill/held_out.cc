#include "worker/distill/held_out.h"

#include <algorithm>

namespace dslad::worker {
namespace {

// Means over batches, each weighted by the rows that its own is over.
class LossMeans {
 public:
  explicit LossMeans(std::size_t networks) : sums_(networks) {}

  void add(const TrainingBatch& batch, std::span<const Losses> losses) {
    const auto labels = static_cast<double>(batch.labels.size()) -
                        static_cast<double>(std::ranges::count(batch.labels, kernels::kNoLabel));
    double weights = 0;
    for (const float w : batch.kl_weight) weights += static_cast<double>(w);
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      sums_[i].ce += losses[i].ce * labels;
      sums_[i].kl += losses[i].kl * weights;
    }
    labelled_ += labels;
    weight_ += weights;
  }

  [[nodiscard]] std::vector<Losses> result() && {
    for (Losses& sum : sums_) {
      if (labelled_ > 0) sum.ce /= labelled_;
      if (weight_ > 0) sum.kl /= weight_;
    }
    return std::move(sums_);
  }

 private:
  std::vector<Losses> sums_;
  double labelled_ = 0, weight_ = 0;
};

// `measure`: TrainingBatch -> Result<std::vector<Losses>>, of `networks` networks.
template <class Measure>
Result<std::vector<Losses>> means(std::span<const TrainingBatch> sequences, std::int64_t batch_tokens,
                                  std::size_t networks, const Measure& measure) {
  LossMeans sum(networks);
  for (std::size_t next = 0; next < sequences.size();) {
    TrainingBatch batch = sequences[next++];
    while (next < sequences.size() && batch.rows() + sequences[next].rows() <= batch_tokens) {
      batch.append(sequences[next++]);
    }
    const Result<std::vector<Losses>> losses = measure(batch);
    if (!losses) return losses.error();
    sum.add(batch, *losses);
  }
  return std::move(sum).result();
}

}  // namespace

Result<Losses> held_out_losses(Network& network, std::span<const TrainingBatch> sequences,
                               std::int64_t batch_tokens, const StudentLayers& converted) {
  const auto one =
      means(sequences, batch_tokens, 1, [&](const TrainingBatch& batch) -> Result<std::vector<Losses>> {
        const auto losses = network.evaluate(batch, converted);
        if (!losses) return losses.error();
        return std::vector{*losses};
      });
  if (!one) return one.error();
  return one->front();
}

Result<std::vector<Losses>> held_out_losses_alone(Network& network, std::span<const TrainingBatch> sequences,
                                                  std::int64_t batch_tokens, const StudentLayers& students,
                                                  const std::atomic<bool>* stop) {
  return means(sequences, batch_tokens, students.size(),
               [&](const TrainingBatch& batch) -> Result<std::vector<Losses>> {
                 if (stop != nullptr && *stop) return Error{ErrorCode::kUnavailable, "stopped"};
                 return network.evaluate_alone(batch, students);
               });
}

}  // namespace dslad::worker
