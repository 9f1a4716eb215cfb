#include "worker/distill/batch.h"

namespace dslad::worker {

void TrainingBatch::append(const TrainingBatch& other) {
  const std::int64_t first_row = rows();
  const auto first_segment = static_cast<std::int32_t>(segments.size());
  const auto extend = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
  extend(ids, other.ids);
  extend(positions, other.positions);
  extend(labels, other.labels);
  extend(kl_weight, other.kl_weight);
  for (kernels::Segment segment : other.segments) {
    segment.first_row += first_row;
    if (segment.parent >= 0) segment.parent += first_segment;
    segments.push_back(segment);
  }
}

}  // namespace dslad::worker
