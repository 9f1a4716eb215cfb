#include "daemon/ingress/waits.h"

#include <utility>

namespace dslad::daemon {
namespace {

constexpr std::size_t kMaxWaits = 20'000;

template <typename Map, typename Key>
void erase_pair(Map& map, const Key& key, std::uint64_t token) {
  const auto [begin, end] = map.equal_range(key);
  for (auto it = begin; it != end; ++it) {
    if (it->second != token) continue;
    map.erase(it);
    return;
  }
}

}  // namespace

using schema::JobId;

bool Waits::add(WaitingClient client, const std::set<JobId>& open) {
  if (waiting_.size() >= kMaxWaits) return false;
  const std::uint64_t token = ++last_token_;
  for (const JobId job : open) by_job_.emplace(job, token);
  by_deadline_.emplace(client.deadline_ms, token);
  waiting_.emplace(token, Waiting{std::move(client), open});
  return true;
}

void Waits::on_event(const schema::Event& event) {
  if (!event.job || !event.state || !schema::is_final(*event.state)) return;
  const auto [begin, end] = by_job_.equal_range(*event.job);
  for (auto it = begin; it != end; ++it) {
    Waiting& waiting = waiting_.at(it->second);
    waiting.open.erase(*event.job);
    if (waiting.open.empty()) complete_.push_back(it->second);
  }
  by_job_.erase(*event.job);
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
  for (const JobId job : waiting.open) erase_pair(by_job_, job, token);
  erase_pair(by_deadline_, waiting.client.deadline_ms, token);
  return std::move(waiting.client);
}

}  // namespace dslad::daemon
