#include "daemon/dispatch/worker_table.h"

#include <algorithm>

namespace dslad::daemon {

using schema::JobId;
using schema::Lease;

std::uint32_t WorkerState::free_slots() const {
  const auto taken = static_cast<std::uint32_t>(jobs.size()) + claiming;
  if (taken >= hello.capacity) return 0;
  const bool alone =
      std::any_of(jobs.begin(), jobs.end(), [](const auto& entry) { return entry.second.job.suspect; });
  if (alone || (waits_to_be_alone && !jobs.empty())) return 0;
  const std::uint32_t free = hello.capacity - taken;
  if (!hello.room) return free;  // it does not tell what it has begun
  const std::uint32_t waiting = taken - begun();
  return waiting >= *hello.room ? 0 : std::min(free, *hello.room - waiting);
}

std::uint32_t WorkerState::begun() const {
  if (!hello.room) return static_cast<std::uint32_t>(jobs.size());
  const auto begun =
      std::count_if(jobs.begin(), jobs.end(), [](const auto& entry) { return entry.second.begun; });
  return static_cast<std::uint32_t>(begun);
}

bool WorkerState::holds(const Lease& lease) const {
  const auto found = jobs.find(lease.job);
  return found != jobs.end() && found->second.attempt == lease.attempt;
}

Claimant WorkerState::claimant() const {
  return {{hello.name, hello.instance},
          hello.model,
          hello.model_digest,
          hello.context,
          hello.cache_bytes,
          jobs.empty(),
          documents.names(),
          hello.room.has_value()};
}

WorkerState* WorkerTable::by_peer(const std::string& peer) {
  for (auto& [instance, worker] : workers_) {
    if (worker.connected() && worker.peer == peer) return &worker;
  }
  return nullptr;
}

WorkerState* WorkerTable::by_instance(const std::string& instance) {
  const auto found = workers_.find(instance);
  return found == workers_.end() ? nullptr : &found->second;
}

const WorkerState* WorkerTable::by_job(JobId job) const {
  for (const auto& [instance, worker] : workers_) {
    if (worker.jobs.contains(job)) return &worker;
  }
  return nullptr;
}

WorkerState* WorkerTable::by_job(JobId job) {
  return const_cast<WorkerState*>(std::as_const(*this).by_job(job));  // the table itself is not const here
}

WorkerState& WorkerTable::add(const std::string& instance) {
  return workers_[instance];
}

WorkerState WorkerTable::remove(const std::string& instance) {
  auto node = workers_.extract(instance);
  return node.empty() ? WorkerState{} : std::move(node.mapped());
}

std::vector<std::string> WorkerTable::silent_since(std::int64_t before_ms) const {
  std::vector<std::string> silent;
  for (const auto& [instance, worker] : workers_) {
    if (worker.last_seen_ms <= before_ms) silent.push_back(instance);
  }
  return silent;
}

std::vector<Lease> WorkerTable::take_expired(std::int64_t now_ms) {
  std::vector<Lease> expired;
  for (auto& [instance, worker] : workers_) {
    std::erase_if(worker.jobs, [&](const auto& entry) {
      if (entry.second.deadline_ms > now_ms) return false;
      expired.push_back({entry.first, entry.second.attempt});
      return true;
    });
  }
  return expired;
}

void WorkerTable::extend_all(std::int64_t by_ms) {
  for (auto& [instance, worker] : workers_) {
    worker.last_seen_ms += by_ms;
    for (auto& [job, held] : worker.jobs) held.deadline_ms += by_ms;
  }
}

std::vector<WorkerState*> WorkerTable::connected() {
  std::vector<WorkerState*> workers;
  for (auto& [instance, worker] : workers_) {
    if (worker.connected()) workers.push_back(&worker);
  }
  std::stable_sort(workers.begin(), workers.end(), [](const WorkerState* a, const WorkerState* b) {
    return a->jobs.size() + a->claiming < b->jobs.size() + b->claiming;
  });
  return workers;
}

std::size_t WorkerTable::jobs() const {
  std::size_t jobs = 0;
  for (const auto& [instance, worker] : workers_) jobs += worker.jobs.size();
  return jobs;
}

std::size_t WorkerTable::not_begun() const {
  std::size_t jobs = 0;
  for (const auto& [instance, worker] : workers_) {
    if (!worker.hello.room) continue;
    jobs += static_cast<std::size_t>(std::ranges::count_if(
        worker.jobs, [](const auto& entry) { return !entry.second.begun && !entry.second.job.rerun; }));
  }
  return jobs;
}

std::vector<schema::WorkerInfo> WorkerTable::report(std::int64_t now_ms) const {
  std::vector<schema::WorkerInfo> infos;
  for (const auto& [instance, worker] : workers_) {
    if (!worker.connected()) continue;
    schema::WorkerInfo& info = infos.emplace_back();
    info.name = worker.hello.name;
    info.instance = instance;
    info.device = worker.hello.device;
    info.model = worker.hello.model;
    info.dtype = worker.hello.dtype;
    info.plan = worker.hello.plan;
    info.capacity = worker.hello.capacity;
    info.running = static_cast<std::uint32_t>(worker.jobs.size());
    info.last_seen_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(0, now_ms - worker.last_seen_ms));
    info.engine = worker.engine;
    info.model_digest = worker.hello.model_digest;
    info.edition = worker.hello.edition;
    info.layers = worker.hello.layers;
    info.context = worker.hello.context;
    info.cache_bytes = worker.hello.cache_bytes;
    info.begun = worker.begun();
    info.plans = worker.hello.plans;
    info.chain_fault = worker.hello.chain_fault;
  }
  return infos;
}

}  // namespace dslad::daemon
