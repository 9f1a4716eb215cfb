#include "daemon/ingress/waits.h"

#include <utility>

namespace dslad::daemon {
namespace {

constexpr std::size_t kMaxWaits = 20'000;
constexpr std::size_t kMaxOpenJobs = 250'000;  // waited for by all clients together: some dozen MiB

}  // namespace

using schema::JobId;

bool Waits::add(WaitingClient client, const std::set<JobId>& open) {
  if (waiting_.size() >= kMaxWaits || open_jobs_ + open.size() > kMaxOpenJobs) return false;
  const std::uint64_t token = ++last_token_;
  for (const JobId job : open) by_job_[job].insert(token);
  open_jobs_ += open.size();
  by_deadline_.emplace(client.deadline_ms, token);
  waiting_.emplace(token, Waiting{std::move(client), open});
  return true;
}

void Waits::on_event(const schema::Event& event) {
  if (!event.job || !event.state || !schema::is_final(*event.state)) return;
  const auto tokens = by_job_.extract(*event.job);
  if (tokens.empty()) return;
  for (const std::uint64_t token : tokens.mapped()) {
    Waiting& waiting = waiting_.at(token);
    waiting.open.erase(*event.job);
    --open_jobs_;
    if (waiting.open.empty()) complete_.push_back(token);
  }
}

std::vector<WaitingClient> Waits::take_ready(std::int64_t now_ms) {
  std::vector<WaitingClient> ready;
  for (const std::uint64_t token : std::exchange(complete_, {})) ready.push_back(take(token));
  while (!by_deadline_.empty() && by_deadline_.begin()->first <= now_ms) {
    ready.push_back(take(by_deadline_.begin()->second));
  }
  return ready;
}

std::vector<WaitingClient> Waits::take_all() {
  std::vector<WaitingClient> all;
  complete_.clear();
  while (!waiting_.empty()) all.push_back(take(waiting_.begin()->first));
  return all;
}

WaitingClient Waits::take(std::uint64_t token) {
  auto node = waiting_.extract(token);
  Waiting& waiting = node.mapped();
  for (const JobId job : waiting.open) {
    const auto tokens = by_job_.find(job);
    tokens->second.erase(token);
    if (tokens->second.empty()) by_job_.erase(tokens);
  }
  open_jobs_ -= waiting.open.size();
  by_deadline_.erase({waiting.client.deadline_ms, token});
  return std::move(waiting.client);
}

}  // namespace dslad::daemon
