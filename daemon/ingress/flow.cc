#include "daemon/ingress/flow.h"

#include <utility>

namespace dslad::daemon {

bool Flow::is_behind(const std::string& peer) const {
  return outbox_.unsent(peer) >= limits_.unread_bytes || outbox_.unsent() >= limits_.unread_bytes_all;
}

bool Flow::enter(const std::string& peer, Start start) {
  Client& client = clients_[peer];
  if (client.waiting.size() >= limits_.waiting || waiting_ >= limits_.waiting_all) return false;
  client.waiting.push_back(std::move(start));
  ++waiting_;
  start_some(peer);
  return true;
}

// What starts may end at once, and what ends may start another: so the client is looked up anew each time.
void Flow::start_some(const std::string& peer) {
  while (!is_behind(peer)) {
    const auto found = clients_.find(peer);
    if (found == clients_.end()) return;
    Client& client = found->second;
    if (client.under_way >= limits_.at_once) return;
    if (client.waiting.empty()) {
      if (client.under_way == 0) clients_.erase(found);
      return;
    }
    const Start start = std::move(client.waiting.front());
    client.waiting.pop_front();
    --waiting_;
    ++client.under_way;
    start();
  }
}

void Flow::leave(const std::string& peer) {
  const auto found = clients_.find(peer);
  if (found == clients_.end() || found->second.under_way == 0) return;  // forgotten meanwhile
  --found->second.under_way;
  start_some(peer);
}

void Flow::resume() {
  if (waiting_ == 0) return;
  std::vector<std::string> peers;
  for (const auto& [peer, client] : clients_) {
    if (!client.waiting.empty()) peers.push_back(peer);
  }
  for (const std::string& peer : peers) start_some(peer);
}

void Flow::start_all() {
  for (auto& [peer, client] : std::exchange(clients_, {})) {
    waiting_ -= client.waiting.size();
    for (const Start& start : client.waiting) start();
  }
}

void Flow::forget(const std::string& peer) {
  const auto found = clients_.find(peer);
  if (found == clients_.end()) return;
  waiting_ -= found->second.waiting.size();
  clients_.erase(found);
}

}  // namespace dslad::daemon
