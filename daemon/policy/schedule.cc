#include "daemon/policy/schedule.h"

#include <algorithm>

namespace dslad::daemon::policy {

double Candidate::least_work(std::size_t plan, std::size_t workers) const {
  double least = kNever;
  for (std::size_t worker = 0; worker < workers; ++worker) least = std::min(least, work(worker, plan));
  return least;
}

std::vector<Slot> schedule(const std::vector<Candidate>& candidates, std::vector<double> free_ms) {
  std::vector<Slot> slots(candidates.size());
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& candidate = candidates[i];
    if (!candidate.placeable()) continue;
    Slot& slot = slots[i];
    slot.finish_ms = Candidate::kNever;
    for (std::size_t worker = 0; worker < free_ms.size(); ++worker) {
      const double finish_ms = free_ms[worker] + candidate.work(worker, candidate.at);
      if (finish_ms < slot.finish_ms) slot = {worker, free_ms[worker], finish_ms};
    }
    free_ms[slot.worker] = slot.finish_ms;
  }
  return slots;
}

}  // namespace dslad::daemon::policy
