// The worker's main loop: orders of the daemon in, engine steps, results out.
//
// Owns engine, tasks and plan; the link (its own thread) keeps the leases alive meanwhile, and the maker (its
// own, too) turns what comes into tasks. A plan that gives
// what is no number is withdrawn; where plan 0 does so again and again, the worker leaves. Thread safety:
// one thread.
#pragma once

#include <chrono>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "base/process/service_manager.h"
#include "base/process/stop_signals.h"
#include "worker/engine/engine.h"
#include "worker/idle/idle_distiller.h"
#include "worker/service/chain_watch.h"
#include "worker/service/daemon_link.h"
#include "worker/service/plan_control.h"
#include "worker/service/rates.h"
#include "worker/service/request_maker.h"
#include "worker/service/running_job.h"

namespace dslad::worker {

struct WorkerLimits {
  std::uint32_t capacity = 16;          // jobs that it holds at most
  std::chrono::seconds drain_time{20};  // that a signal lets running jobs finish before they are given back
};

// Jobs that a worker wants to hold beyond those that have begun: what the engine could admit now and one
// more, so that it never waits for the daemon, and a short job that comes is read beside a long one.
std::uint32_t room_of(const Engine& engine, const Plan& plan, std::uint32_t capacity, std::uint32_t begun);

class Worker : private EngineSink {
 public:
  // `plans`: of the model; `watch`: of its chain; `idle`: makes more of it, or null.
  Worker(ModelFolder model, PlanControl plans, std::unique_ptr<ChainWatch> watch,
         std::unique_ptr<Engine> engine, std::unique_ptr<DaemonLink> link,
         std::unique_ptr<IdleDistiller> idle, process::StopSignals signals, process::ServiceManager& manager,
         const WorkerLimits& limits);

  // Until a signal or the daemon's Drain; then says goodbye. SIGUSR2 lets all jobs end, SIGHUP changes
  // nothing; of the others the first drains and a second one gives the jobs back at once. kUnavailable
  // when the device fails for good, kResourceExhausted when it has no memory for a step, kCorrupt when the
  // model's weights give no numbers: its jobs have been given back.
  Status run();

 private:
  using Jobs = std::list<RunningJob>;

  // Engine events.
  bool on_token(RequestId id, int tail, std::int32_t token) override;
  void on_answer(RequestId id, int tail, AnswerEnd end, double mean_log_p) override;
  void on_progress(RequestId id, const RequestProgress& progress) override;
  void on_done(RequestId id, const RequestProgress& progress, const RequestTimes& times) override;
  void on_failed(RequestId id, const RequestProgress& progress, const RequestTimes& times,
                 const Error& error) override;

  void obey(Order order);
  void accept(schema::Assign assign);
  void accept(const schema::CancelLease& cancel);
  void accept(const schema::SetWorkerPlan& change);
  void accept(const schema::Drain&) { begin_drain("the daemon asked for it"); }
  void accept(const schema::IdleWork& work) {
    if (idle_) idle_->allow(work.allowed);
  }
  // Gives the requests of a job to the engine.
  void begin(RequestMaker::Made made);
  // Gives the engine what the job has for it now. Errors: the job's; with what a larger worker would have to
  // have.
  Status feed(Jobs::iterator job, schema::WorkerResult& needs);
  // After a step, or where a job is new: what has ended is told, what goes on is fed.
  void mind(Jobs::iterator job);
  void finish(Jobs::iterator job);
  // `needs`: what a larger worker would have to have.
  void fail(Jobs::iterator job, const Error& error, const schema::WorkerResult& needs = {});
  void reject(schema::WorkerResult result, const Plan& plan, const Error& error);
  // Takes the job away from the engine.
  void forget(Jobs::iterator job);
  void withdraw(const Plan& plan, const Error& error);
  // A job failed on plan 0: after some in a row, the worker has no use.
  void doubt_weights(schema::JobId job, const Error& error);
  // `blame`: a job that the engine worked on may have broken it.
  Status leave_broken(const Error& error, bool blame);
  // Tells the daemon which jobs have begun since the last call, and what room there is where it changed.
  void report_room();
  void replace_chain(LoadedChain chain);
  // Before each step of the engine: stops idle work where there are jobs, and tells of its layers.
  void mind_idle_work();
  // Finishes the jobs that it has, however long they take, and ends: for an upgrade. The service manager is
  // not told that it stops, or it would end it after its own time.
  void retire();
  void begin_drain(const char* why);
  [[nodiscard]] bool drained() const;
  [[nodiscard]] std::size_t held() const { return jobs_.size() + maker_.held(); }  // jobs
  void report(bool idle);

  ModelFolder model_;
  PlanControl plans_;
  std::unique_ptr<ChainWatch> watch_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<DaemonLink> link_;
  std::unique_ptr<IdleDistiller> idle_;  // null: none is wanted
  process::StopSignals signals_;
  process::ServiceManager& manager_;
  WorkerLimits limits_;
  Rates rates_;
  Jobs jobs_;                                     // in the engine
  std::map<RequestId, Jobs::iterator> requests_;  // whose they are
  RequestId next_id_ = 1;
  std::set<schema::JobId> failed_on_plan_0_;  // since one succeeded on it
  std::optional<Error> broken_;               // why it must leave
  std::uint64_t begun_ = 0;                   // by the engine, when that was last looked at
  std::optional<std::uint32_t> room_;         // that the daemon was told last
  int stops_ = 0;                             // signals that came
  bool draining_ = false;
  std::optional<std::chrono::steady_clock::time_point> drain_deadline_;  // none while retiring
  RequestMaker maker_;  // last: its thread uses model and link
};

}  // namespace dslad::worker
