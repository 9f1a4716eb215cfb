#include "daemon/policy/schedule.h"

#include <algorithm>

namespace dslad::daemon::policy {

double Candidate::least_work(std::size_t plan) const {
  double least = kNever;
  for (std::size_t i = plan; i < work_ms.size(); i += plans.size()) least = std::min(least, work_ms[i]);
  return least;
}

Slot place(const Candidate& candidate, std::size_t plan, std::vector<double>& free_ms) {
  Slot slot{0, 0, Candidate::kNever};
  for (std::size_t worker = 0; worker < free_ms.size(); ++worker) {
    const double start_ms = std::max(free_ms[worker], candidate.from_ms);
    const double finish_ms = start_ms + candidate.work(worker, plan);
    if (finish_ms < slot.finish_ms) slot = {worker, start_ms, finish_ms};
  }
  free_ms[slot.worker] += candidate.work(slot.worker, plan);
  return slot;
}

std::vector<Slot> schedule(const std::vector<Candidate>& candidates, std::vector<double> free_ms) {
  std::vector<Slot> slots(candidates.size());
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (candidates[i].placeable()) slots[i] = place(candidates[i], candidates[i].at, free_ms);
  }
  return slots;
}

}  // namespace dslad::daemon::policy
