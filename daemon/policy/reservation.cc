#include "daemon/policy/reservation.h"

#include <algorithm>

namespace dslad::daemon::policy {
namespace {

constexpr double kRounding_ms = 1;  // whoever is free at the very moment is not late

// What is laid out on one worker behind a job.
struct Behind {
  double start_ms = Candidate::kNever;  // of the first
  double slack_ms = Candidate::kNever;  // that all of them have: so much later no deadline is missed yet
};

bool is_promised(const Candidate& candidate, const Slot& slot, const std::vector<bool>& known) {
  return candidate.has_deadline && known[slot.worker] && slot.finish_ms <= candidate.due_ms;
}

std::vector<double> begin_by(const Candidate& candidate, const std::vector<Behind>& behind, bool for_others,
                             double now_ms) {
  std::vector<double> all_ms(behind.size());
  for (std::size_t worker = 0; worker < all_ms.size(); ++worker) {
    const double end_ms = for_others ? behind[worker].start_ms + behind[worker].slack_ms : candidate.due_ms;
    all_ms[worker] = now_ms + end_ms - candidate.work(worker, candidate.at);
  }
  return all_ms;
}

}  // namespace

Claims Reservation::claims(std::size_t other, double begins_ms, double now_ms) const {
  if (other == worker) return Claims::kTakes;
  if (!begin_by_ms.empty()) {
    if (now_ms > begin_by_ms[worker] + kRounding_ms) return Claims::kTakes;
    if (begins_ms > begin_by_ms[other]) return Claims::kLeaves;
  }
  const bool harms = !harmless_until_ms.empty() && begins_ms > harmless_until_ms[other] + kRounding_ms;
  return harms ? Claims::kRatherNot : Claims::kTakes;
}

std::vector<Reservation> reservations(const std::vector<Candidate>& candidates,
                                      const std::vector<Slot>& slots, const std::vector<bool>& known,
                                      std::int64_t now_ms) {
  std::vector<Reservation> made(candidates.size());
  std::vector<Behind> behind(known.size());
  bool some_promised = false;
  const auto now = static_cast<double>(now_ms);
  for (std::size_t i = candidates.size(); i-- > 0;) {
    const Candidate& candidate = candidates[i];
    const Slot& slot = slots[i];
    if (!candidate.placeable()) continue;
    const bool promised = is_promised(candidate, slot, known);
    made[i].worker = slot.worker;
    if (promised) made[i].begin_by_ms = begin_by(candidate, behind, false, now);
    if (some_promised) made[i].harmless_until_ms = begin_by(candidate, behind, true, now);
    some_promised = some_promised || promised;
    Behind& own = behind[slot.worker];
    own.start_ms = slot.start_ms;
    if (promised) own.slack_ms = std::min(own.slack_ms, candidate.due_ms - slot.finish_ms);
  }
  return made;
}

}  // namespace dslad::daemon::policy
