#include "daemon/policy/admission.h"

#include <algorithm>
#include <set>

namespace dslad::daemon::policy {
namespace {

constexpr int kMostTries = 8;
constexpr std::int64_t kFarAhead_ms = 1'000'000'000'000;

const Decision& decision_on(const Verdict& verdict, std::int64_t id) {
  return *std::find_if(verdict.decisions.begin(), verdict.decisions.end(),
                       [id](const Decision& one) { return one.id == id; });
}

std::vector<std::int64_t> displaced(const Verdict& without, const Verdict& with) {
  std::set<std::int64_t> late;
  for (const Decision& one : without.decisions) {
    if (one.late) late.insert(one.id);
  }
  std::vector<std::int64_t> all;
  for (const Decision& one : with.decisions) {
    if (one.late && !late.contains(one.id)) all.push_back(one.id);
  }
  return all;
}

}  // namespace

Admission admission(const Settings& settings, const History& history, std::vector<WaitingJob> jobs,
                    const WaitingJob& fresh, const std::vector<WorkerFacts>& workers, const CostModels& costs,
                    std::int64_t now_ms) {
  const Verdict without = decide(settings, history, jobs, workers, costs, now_ms);
  jobs.push_back(fresh);
  const auto decide_with = [&] { return decide(settings, history, jobs, workers, costs, now_ms); };
  Verdict with = decide_with();
  Admission made;
  Decision own = decision_on(with, fresh.id);
  made.finish_ms = own.finish_ms;
  made.displaced = displaced(without, with);
  std::erase(made.displaced, fresh.id);
  made.in_time = !own.late;
  // With a later deadline its turn is later, too: behind more jobs, so that the time moves on until it holds.
  const auto soonest = [&own] { return own.soonest_ms ? *own.soonest_ms : *own.finish_ms; };
  for (int tries = 0; own.late && tries < kMostTries; ++tries) {
    made.earliest_ms = soonest() + 1;
    jobs.back().deadline_ms = jobs.back().turn_ms = *made.earliest_ms;
    with = decide_with();
    own = decision_on(with, fresh.id);
  }
  if (!own.late) return made;
  jobs.back().deadline_ms = jobs.back().turn_ms = now_ms + kFarAhead_ms;  // behind all of its priority
  with = decide_with();
  own = decision_on(with, fresh.id);
  made.earliest_ms = soonest() + 1;
  return made;
}

}  // namespace dslad::daemon::policy
