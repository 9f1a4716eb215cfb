#include "daemon/dispatch/dispatcher.h"

#include <utility>

namespace dslad::daemon {

Dispatcher::Dispatcher(const DispatchConfig& config, const Clock& clock, Executor& store, Outbox& workers,
                       Feed& feed)
    : durable_(store),
      around_{clock, store, durable_, table_, workers, feed},
      planner_(clock, store, table_, config.policy,
               {[this](const schema::PolicyChange& change) { policing_.on_change(change); },
                [this] { assigner_.decided(); }, [this] { plans_.announce_all(); }}),
      plans_(around_, planner_, config.plan_timeout_ms),
      policing_(around_, planner_, plans_),
      leases_(around_, planner_, config.lease_ms, config.retry,
              {[this] { assigner_.jobs_queued(); }, [this] { assigner_.fill(); }}),
      assigner_(around_, planner_, leases_),
      registry_(around_, planner_, plans_, leases_, {config.lease_ms, config.heartbeat_ms}),
      expirer_(around_, registry_, leases_, assigner_) {}

void Dispatcher::on_hello(const std::string& peer, std::uint64_t request_id, const schema::Hello& hello) {
  registry_.on_hello(peer, request_id, hello);
  assigner_.fill();
}

void Dispatcher::on_heartbeat(const std::string& peer, const schema::Heartbeat& heartbeat) {
  WorkerState* worker = registry_.heard(peer);
  if (worker == nullptr) return;
  registry_.on_heartbeat(*worker, heartbeat);
  assigner_.fill();
}

void Dispatcher::on_room(const std::string& peer, const schema::Room& room) {
  WorkerState* worker = registry_.heard(peer);
  if (worker == nullptr) return;
  registry_.on_room(*worker, room);
  assigner_.fill();
}

void Dispatcher::on_plans(const std::string& peer, schema::PlanTable table) {
  if (WorkerState* worker = registry_.heard(peer)) registry_.on_plans(*worker, std::move(table));
}

void Dispatcher::on_result(const std::string& peer, schema::WorkerResult result) {
  if (WorkerState* worker = registry_.heard(peer)) leases_.on_result(*worker, std::move(result));
}

void Dispatcher::tick() {
  expirer_.tick();
  if (const std::int64_t now_ms = around_.clock.steady_ms(); now_ms >= next_second_ms_) {
    next_second_ms_ = now_ms + 1'000;
    expirer_.look_at_jobs();
    durable_.retry();
    assigner_.ask_anew();
    policing_.follow();
    assigner_.fill();
  }
  planner_.tick();
  assigner_.follow_idleness();
  plans_.tick();
}

void Dispatcher::drain() {
  assigner_.stop();
  plans_.drain();
}

schema::Progress Dispatcher::progress(schema::JobId job) const {
  const WorkerState* worker = table_.by_job(job);
  return worker == nullptr ? schema::Progress{} : worker->jobs.at(job).progress;
}

}  // namespace dslad::daemon
