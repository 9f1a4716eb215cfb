// Runs the conversion policy (daemon/policy) on what waits and on who is connected: which plan each job is to
// have, why, and when it is expected to end. Learns from finished jobs how fast workers are.
//
// Decides on a snapshot of the queue's head, which the store's thread reads every so often; claims between
// two decisions go by the last one. Socket thread only, but for what chooser() gives.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/clock.h"
#include "daemon/dispatch/worker_table.h"
#include "daemon/policy/policy.h"
#include "daemon/store/executor.h"
#include "daemon/store/job_reads.h"
#include "daemon/store/job_writes.h"
#include "daemon/store/layers.h"
#include "schema/client_messages.h"
#include "schema/policy_messages.h"

namespace dslad::daemon {

// What is decided of a job that waits. Times are milliseconds since the epoch; 0: not known.
struct Forecast {
  std::string model_digest;           // of the worker on which it is laid out; empty: nobody can take it
  std::optional<std::uint32_t> plan;  // absent: the worker's plan in force
  std::optional<double> quality;      // of that plan
  std::string why;
  std::uint64_t place = 0;  // in the queue, from 1
  std::int64_t start_ms = 0;
  std::int64_t finish_ms = 0;
};

// What is said of a job before it is stored.
struct Admission {
  std::int64_t finish_ms = 0;    // when it is expected to end; 0: nothing is known
  std::optional<Error> refusal;  // its deadline cannot be met
};

// What becomes of a job that was too large for its worker on the plan that it had.
struct Refusal {
  bool fits = false;               // a worker that is connected can take it, be it the same on another plan
  std::uint64_t needs_tokens = 0;  // room in a cache; 0: that is not known
  std::string why_not;             // where it does not fit: what forbids the plan on which it would
};

// What of a job costs time.
policy::JobSize size_of(const QueuedJob& job);

// What Planner::chooser() gives: it has copies of its own, and decisions that do not change any more.
template <>
inline constexpr bool kIsOwned<ChoosePlan> = true;

class Planner {
 public:
  struct Listener {
    std::function<void(const schema::PolicyChange&)>
        changed;  // the largest plan that a job of a model is given is another, or those that none is given
    std::function<void()> decided;  // claims need wait no longer
    std::function<void()> judged;   // which plans are given to no job is another, or known now
  };

  // `table` must outlive the planner.
  Planner(const Clock& clock, Executor& store, WorkerTable& table, const policy::Settings& settings,
          Listener listener);

  [[nodiscard]] const policy::Settings& settings() const { return settings_; }
  void use(const policy::Settings& settings);

  // Something changed: the next tick() may decide anew.
  void look_again() { stale_ = true; }
  void tick();  // reads the store where something was written, else decides of what it read before
  // Whether claims should wait for a decision that is being made. It takes as long as one read of the store,
  // and decisions take but a small share of the time: so late, a job that has just come is seen with those
  // that came with it.
  [[nodiscard]] bool deciding();

  // For claims of this worker, by the last decision: what it takes, and on which plan. What it gives is safe
  // on any thread.
  [[nodiscard]] ChoosePlan chooser(const WorkerState& worker) const;
  // Counts the decisions: what a claim left to other workers may be this one's after the next.
  [[nodiscard]] std::uint64_t decisions() const { return decisions_; }
  // What the worker keeps of jobs, on each plan that it may be given now; empty: that is not known.
  [[nodiscard]] std::vector<PlanRoom> room(const WorkerState& worker) const;
  // Of the worker's job, which its result says was too large.
  [[nodiscard]] Refusal refused(const WorkerState& worker, const QueuedJob& job,
                                const schema::WorkerResult& result) const;
  // Of a job that comes, predicted; what is not known of workers' speed is guessed from its size.
  [[nodiscard]] double work_ms(const schema::JobRequest& job) const;
  // Those that it takes are counted on from then on; whoever does not store them at once has promised too
  // little to others until the queue is read anew.
  std::vector<Admission> admit(const std::vector<schema::JobRequest>& jobs, const std::string& client,
                               schema::Overflow overflow = schema::Overflow::kError);
  void finished(const WorkerState& worker, const QueuedJob& job, const schema::JobMetrics& metrics);

  // The plan in force that the policy wants of this worker, and why.
  [[nodiscard]] std::uint32_t plan_for(const WorkerState& worker) const;
  [[nodiscard]] std::string why_of(const WorkerState& worker) const;
  // Where the latest changes before a restart left each model: a level outlives the daemon.
  void restore_levels(const std::vector<schema::PolicyChange>& latest);
  // What of the settings the connected workers cannot follow.
  [[nodiscard]] std::vector<std::string> notes() const;
  // Whether something is known of the speed of workers like this one.
  [[nodiscard]] bool knows(const WorkerState& worker) const;
  // Learns from what workers like this one did before a restart (the latest first), unless something is
  // known.
  void recall(const WorkerState& worker, const std::vector<WorkDone>& done);
  // Reads how far plans' answers agree with plan 0's, as far as it is stored. From one that agrees too little
  // on, plans are not given.
  void recall_agreements();
  // Of the worker's chain; nothing until that was read.
  [[nodiscard]] std::optional<Judged> judged(const WorkerState& worker) const;
  // Whether idle work may be done now: for report() alone.
  void note_idle(bool idle) { idle_ = idle; }
  [[nodiscard]] bool idle() const { return idle_; }
  // Whether a user's job waited for a model that is served when that was last looked at.
  [[nodiscard]] bool jobs_wait() const { return !snapshot_.jobs.empty(); }
  [[nodiscard]] std::optional<Forecast> forecast(schema::JobId job) const;
  // When a job that a worker has is expected to end, after those that came before it there; 0: not known.
  [[nodiscard]] std::int64_t running_finish(schema::JobId job) const;
  [[nodiscard]] schema::PolicyReply report() const;
  [[nodiscard]] std::vector<schema::CostModelInfo> cost_models() const;

 private:
  struct Snapshot {
    std::vector<QueuedJob> jobs;     // the first of each model's queue
    std::vector<QueuedJob> delayed;  // that may not begin yet and were promised an end
    std::uint64_t queued = 0;        // all that wait
    std::int64_t rows_changed = -1;  // Executor's, when it was read
    std::int64_t read_ms = 0;        // since the epoch: jobs that came later are not among them
  };
  using Forecasts = std::map<schema::JobId, Forecast>;
  // Who is to run what, as it was decided.
  struct Layout {
    std::map<std::string, std::size_t> workers;  // by instance: the places that reservations name
    std::map<schema::JobId, policy::Reservation> reserved;
    std::vector<std::vector<schema::JobId>> promised;  // by place: whose deadlines are met there
    std::int64_t read_ms = 0;                          // Snapshot's
  };
  class Claiming;
  static constexpr std::uint32_t kLooksAhead = 1'000;  // jobs of a queue that a decision sees
  // Jobs that have no number yet come behind all that have one.
  static constexpr schema::JobId kFirstUnnumbered = schema::JobId{1} << 62;

  static Result<Snapshot> read_snapshot(Database& db, const std::vector<ServedBy>& served,
                                        std::int64_t now_ms);

  [[nodiscard]] policy::WorkerFacts facts(const WorkerState& worker) const;
  // Whether the job, were it claimed for the worker, would be given a plan on which it fits.
  [[nodiscard]] bool has_room(const WorkerState& worker, const QueuedJob& job) const;
  [[nodiscard]] std::string why_no_room(const QueuedJob& job) const;
  [[nodiscard]] std::string why_not_on(const policy::PlanFacts& plan, const QueuedJob& job) const;
  [[nodiscard]] std::vector<policy::WorkerFacts> workers() const;
  // Of the jobs that the worker has, up to the id `last`.
  static double work_left(const policy::CostModel& model, const policy::WorkerFacts& facts,
                          const WorkerState& worker, schema::JobId last);
  // From the wall clock to the axis of the policy, and back.
  [[nodiscard]] std::int64_t steady(std::int64_t wall_ms) const;
  [[nodiscard]] std::int64_t wall(std::optional<std::int64_t> steady_ms) const;
  [[nodiscard]] policy::WaitingJob waiting(const QueuedJob& job) const;
  [[nodiscard]] policy::Verdict run(const std::vector<QueuedJob>& jobs) const;
  // With what is predicted of jobs.
  [[nodiscard]] policy::Settings predicting() const;
  void admit_behind(const std::vector<schema::JobRequest>& jobs, const std::string& client,
                    schema::Overflow overflow, std::vector<Admission>& admissions);
  void admit_exactly(const std::vector<schema::JobRequest>& jobs, const std::string& client,
                     schema::Overflow overflow, std::vector<Admission>& admissions);
  void note_admitted(std::vector<policy::WaitingJob> fresh);
  // Until all is done that waits for the model, and what came since; "": for all of them. Milliseconds.
  [[nodiscard]] double drain_ms(const std::string& model_digest) const;
  void look();         // and decide
  void decide();       // of the snapshot
  void note_layout();  // for claims; takes it out of the verdict
  [[nodiscard]] ChoosePlan plan_chooser(const WorkerState& worker) const;
  void use_agreements(std::vector<schema::PlanAgreement> agreements);
  void note_judgement(const schema::PlanAgreement& plan, const std::string& why);
  void take_levels_by_hand();
  void note_levels(const policy::Verdict& verdict);
  [[nodiscard]] schema::PolicyChange change_of(const std::string& model_digest,
                                               const policy::Verdict& verdict) const;
  [[nodiscard]] std::string name_of(const std::string& model_digest) const;
  [[nodiscard]] std::vector<schema::PolicyLevel> levels() const;  // of the connected workers' models, by name

  const Clock& clock_;
  Executor& store_;
  WorkerTable& table_;
  policy::Settings settings_;
  Listener listener_;

  policy::CostModels costs_;
  policy::History history_;
  Snapshot snapshot_;
  policy::Verdict verdict_;
  std::shared_ptr<const Forecasts> forecasts_ = std::make_shared<const Forecasts>();
  std::shared_ptr<const Layout> layout_ = std::make_shared<const Layout>();
  std::uint64_t decisions_ = 0;
  std::map<std::string, schema::PolicyChange> changes_;  // of each model the latest, by digest

  bool stale_ = true;
  bool reading_ = false;
  std::int64_t began_at_ = 0;  // steady; the last decision, read and all, as is the next
  std::int64_t decided_at_ = 0;
  // Work of jobs that came since, by the digest of the model that must answer; "": of those for any.
  std::map<std::string, double> admitted_ms_;
  std::vector<policy::WaitingJob> admitted_;  // the latest of them, which the snapshot lacks
  schema::JobId next_unnumbered_ = kFirstUnnumbered;
  std::vector<schema::PlanAgreement> agreements_;
  bool agreements_known_ = false;  // they were read since the start
  bool idle_ = false;
};

}  // namespace dslad::daemon
