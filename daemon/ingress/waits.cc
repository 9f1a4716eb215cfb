#include "daemon/ingress/waits.h"

#include <algorithm>
#include <utility>

namespace dslad::daemon {

using schema::JobId;

Waits::Added Waits::add(WaitingClient client, const std::set<JobId>& open) {
  Added added;
  while (!has_room(open.size())) {
    const auto heaviest =
        std::max_element(by_peer_.begin(), by_peer_.end(),
                         [](const auto& a, const auto& b) { return a.second.weight() < b.second.weight(); });
    const std::size_t own = by_peer_.contains(client.asker.peer) ? by_peer_[client.asker.peer].weight() : 0;
    if (heaviest == by_peer_.end() || heaviest->first == client.asker.peer ||
        heaviest->second.weight() <= own + 1 + open.size())
      return added;
    added.displaced.push_back(take(*heaviest->second.tokens.rbegin()));  // its latest
  }
  const std::uint64_t token = ++last_token_;
  for (const JobId job : open) by_job_[job].insert(token);
  open_jobs_ += open.size();
  Peer& peer = by_peer_[client.asker.peer];
  peer.tokens.insert(token);
  peer.open_jobs += open.size();
  by_deadline_.emplace(client.deadline_ms, token);
  waiting_.emplace(token, Waiting{std::move(client), open});
  added.taken = true;
  return added;
}

void Waits::on_event(const schema::Event& event) {
  if (!event.job || !event.state || !schema::is_final(*event.state)) return;
  const auto tokens = by_job_.extract(*event.job);
  if (tokens.empty()) return;
  for (const std::uint64_t token : tokens.mapped()) {
    Waiting& waiting = waiting_.at(token);
    waiting.open.erase(*event.job);
    --open_jobs_;
    --by_peer_.at(waiting.client.asker.peer).open_jobs;
    if (waiting.open.empty()) complete_.push_back(token);
  }
}

std::vector<WaitingClient> Waits::take_ready(std::int64_t now_ms) {
  std::vector<WaitingClient> ready;
  for (const std::uint64_t token : std::exchange(complete_, {})) {
    if (waiting_.contains(token)) ready.push_back(take(token));  // else its client left, or was displaced
  }
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

void Waits::forget(const std::string& peer) {
  const auto found = by_peer_.find(peer);
  if (found == by_peer_.end()) return;
  const std::set<std::uint64_t> tokens = found->second.tokens;
  for (const std::uint64_t token : tokens) take(token);
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
  const auto peer = by_peer_.find(waiting.client.asker.peer);
  peer->second.open_jobs -= waiting.open.size();
  peer->second.tokens.erase(token);
  if (peer->second.tokens.empty()) by_peer_.erase(peer);
  return std::move(waiting.client);
}

}  // namespace dslad::daemon
