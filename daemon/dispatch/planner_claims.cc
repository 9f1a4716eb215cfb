// Which of the jobs that wait a worker takes, and on which plan: the last decision, as claims go by it.
#include <algorithm>
#include <limits>
#include <utility>

#include "daemon/dispatch/planner.h"
#include "daemon/policy/announced.h"

namespace dslad::daemon {

// One worker's claim, with copies of all that it is decided by.
class Planner::Claiming {
 public:
  Claiming(const Planner& planner, const WorkerState& worker)
      : layout_(planner.layout_), facts_(planner.facts(worker)), in_force_(worker.hello.plan) {
    now_ms_ = planner.clock_.steady_ms();
    from_wall_ms_ = now_ms_ - planner.clock_.wall_ms();
    begins_ms_ = static_cast<double>(now_ms_);
    if (const policy::CostModel* cost = cost_of(planner, worker); cost != nullptr) {
      cost_ = *cost;
      begins_ms_ += work_left(*cost_, facts_, worker, std::numeric_limits<schema::JobId>::max());
    }
    find_keepers(planner.table_, worker);
    if (place_) {
      promised_waits_ = std::ranges::any_of(layout_->promised[*place_], [&](schema::JobId job) {
        return planner.table_.by_job(job) == nullptr;
      });
    }
  }

  // Of a job that would run on `plan`.
  [[nodiscard]] Taking taking(const QueuedJob& job, std::optional<std::uint32_t> plan) const {
    if (job.suspect) return Taking::kYes;  // nothing passes it
    const auto found = layout_->reserved.find(job.id);
    if (found == layout_->reserved.end())
      return waits_for_decision(job, plan.value_or(in_force_)) ? Taking::kNo : Taking::kYes;
    const policy::Reservation& reserved = found->second;
    if (reserved.worker == place_ || !keepers_[reserved.worker].takes(job)) return Taking::kYes;
    if (!place_)
      return reserved.begin_by_ms.empty() ? Taking::kYes : Taking::kNo;  // until it is laid out, too
    const policy::Claims claims = reserved.claims(*place_, begins_ms_, static_cast<double>(now_ms_));
    if (claims == policy::Claims::kLeaves) return Taking::kNo;
    return claims == policy::Claims::kRatherNot && promised_waits_ ? Taking::kLast : Taking::kYes;
  }

 private:
  // A worker for which jobs are kept.
  struct Keeper {
    bool there = false;  // connected, and it does not stop
    std::string model;
    std::string model_digest;
    std::uint32_t context = 0;
    std::uint64_t cache_bytes = 0;

    // Unless it serves another model, or has refused the job.
    [[nodiscard]] bool takes(const QueuedJob& job) const {
      return there && policy::may_answer(model, model_digest, job.model) &&
             (context == 0 || job.needs_context <= context) &&
             (cache_bytes == 0 || job.needs_cache_bytes <= cache_bytes);
    }
  };

  // As candidates are made: one that has ended no job is taken to be like another one of its model.
  static const policy::CostModel* cost_of(const Planner& planner, const WorkerState& worker) {
    const auto own = planner.costs_.find(policy::speed_key(worker.hello));
    if (own != planner.costs_.end()) return &own->second;
    for (const WorkerState* other : planner.table_.connected()) {
      const auto model = planner.costs_.find(policy::speed_key(other->hello));
      const bool alike = other->hello.model_digest == worker.hello.model_digest;
      if (alike && model != planner.costs_.end()) return &model->second;
    }
    return nullptr;
  }

  void find_keepers(WorkerTable& table, const WorkerState& worker) {
    keepers_.resize(layout_->workers.size());
    for (const WorkerState* other : table.connected()) {
      const auto place = layout_->workers.find(other->hello.instance);
      const bool placed = place != layout_->workers.end();
      if (other == &worker) {
        if (placed) place_ = place->second;
        continue;
      }
      const schema::Hello& hello = other->hello;
      const Keeper keeper{hello.capacity > 0, hello.model, hello.model_digest, hello.context,
                          hello.cache_bytes};
      others_.push_back(keeper);
      if (placed) keepers_[place->second] = keeper;
    }
  }

  // A deadline that was promised since the queue was read, and that this worker would miss on `plan`: the
  // next decision may find another worker for it, or a larger plan here.
  [[nodiscard]] bool waits_for_decision(const QueuedJob& job, std::uint32_t plan) const {
    if (!job.deadline_ms || job.best_effort || job.created_ms < layout_->read_ms || !cost_) return false;
    const double work_ms = cost_->of(size_of(job), facts_.shape(plan), facts_.context).total_ms();
    if (begins_ms_ + work_ms <= static_cast<double>(*job.deadline_ms + from_wall_ms_)) return false;
    const bool larger = std::ranges::any_of(
        facts_.plans, [plan](const policy::PlanFacts& offered) { return offered.plan > plan; });
    return larger || std::ranges::any_of(others_, [&](const Keeper& other) { return other.takes(job); });
  }

  std::shared_ptr<const Layout> layout_;
  policy::WorkerFacts facts_;
  std::uint32_t in_force_;
  std::int64_t now_ms_ = 0;  // steady
  std::int64_t from_wall_ms_ = 0;
  double begins_ms_ = 0;                   // steady: when what it takes now begins there
  std::optional<policy::CostModel> cost_;  // absent: nothing is known
  std::optional<std::size_t> place_;       // among the layout's workers; absent: it has come since
  bool promised_waits_ = false;            // a job whose deadline is to be met on this worker
  std::vector<Keeper> keepers_;            // by place
  std::vector<Keeper> others_;             // all that are connected, those that came since as well
};

void Planner::note_layout() {
  auto layout = std::make_shared<Layout>();
  layout->read_ms = snapshot_.read_ms;
  for (const policy::WorkerFacts& worker : workers()) {
    const std::size_t place = layout->workers.size();
    layout->workers.emplace(worker.instance, place);
  }
  layout->promised.resize(layout->workers.size());
  for (policy::Decision& one : verdict_.decisions) {
    if (one.reason == policy::Reason::kNobody) continue;
    if (!one.reservation.begin_by_ms.empty()) layout->promised[one.reservation.worker].push_back(one.id);
    layout->reserved[one.id] = std::move(one.reservation);
  }
  layout_ = std::move(layout);
  ++decisions_;
}

ChoosePlan Planner::chooser(const WorkerState& worker) const {
  return [choose = plan_chooser(worker), claiming = Claiming(*this, worker)](const QueuedJob& job) {
    PlanChoice choice = choose(job);
    choice.taking = claiming.taking(job, choice.plan);
    return choice;
  };
}

}  // namespace dslad::daemon
