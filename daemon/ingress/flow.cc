#include "daemon/ingress/flow.h"

#include <utility>

namespace dslad::daemon {

bool Flow::is_behind(const std::string& peer) const {
  return outbox_.unsent(peer) >= limits_.unread_bytes;
}

bool Flow::enter(const std::string& peer, Start start) {
  Client& client = clients_[peer];
  if (client.requests() >= limits_.waiting || waiting_ >= limits_.waiting_all) return false;
  client.waiting.push_back(std::move(start));
  ++waiting_;
  start_some(peer);
  return true;
}

bool Flow::put_back(const std::string& peer, std::size_t reply_bytes, Start start) {
  if (reply_bytes <= limits_.short_bytes || outbox_.unsent() < limits_.unread_bytes_all) return false;
  const auto found = clients_.find(peer);
  if (found == clients_.end() || found->second.under_way == 0) return false;  // forgotten meanwhile
  end_one(found->second);
  --under_way_;
  found->second.put_back.push_back({std::move(start), reply_bytes});
  ++waiting_;
  take_turn(peer, found->second);
  give_turns();
  return true;
}

// Which one it is is not known: what all of them were expected to bring goes with the first that ends.
void Flow::end_one(Client& client) {
  --client.under_way;
  expected_ -= std::exchange(client.expected, 0);
}

// One that was put back starts when there is room for its reply beside those that are on their way. Others go
// past it, unless their client seems to ask for long ones alone.
Flow::Start Flow::take_next(const std::string& peer, Client& client) {
  if (client.under_way >= limits_.at_once || is_behind(peer)) return nullptr;
  Start next;
  if (!client.put_back.empty() && outbox_.unsent() + expected_ < limits_.unread_bytes_all) {
    Long& first = client.put_back.front();
    client.expected += first.reply_bytes;
    expected_ += first.reply_bytes;
    next = std::move(first.start);
    client.put_back.pop_front();
  } else if (!client.waiting.empty() && client.put_back.size() < limits_.at_once) {
    next = std::move(client.waiting.front());
    client.waiting.pop_front();
  }
  return next;
}

// What starts may end at once, and what ends may start another: so the client is looked up anew each time.
void Flow::start_some(const std::string& peer) {
  while (true) {
    const auto found = clients_.find(peer);
    if (found == clients_.end()) return;
    Client& client = found->second;
    if (under_way_ >= limits_.at_once_all && client.requests() > 0) return take_turn(peer, client);
    const Start start = take_next(peer, client);
    if (!start) {
      if (client.under_way == 0 && client.requests() == 0) clients_.erase(found);
      return;
    }
    --waiting_;
    ++client.under_way;
    ++under_way_;
    start();
  }
}

void Flow::take_turn(const std::string& peer, Client& client) {
  if (std::exchange(client.has_turn, true)) return;
  turns_.push_back(peer);
}

void Flow::give_turns() {
  while (under_way_ < limits_.at_once_all && !turns_.empty()) {
    const std::string peer = std::move(turns_.front());
    turns_.pop_front();
    const auto found = clients_.find(peer);
    if (found == clients_.end()) continue;
    found->second.has_turn = false;
    start_some(peer);
  }
}

void Flow::leave(const std::string& peer) {
  if (under_way_ > 0) --under_way_;
  const auto found = clients_.find(peer);
  if (found != clients_.end() && found->second.under_way > 0) {  // else it was forgotten meanwhile
    end_one(found->second);
    take_turn(peer, found->second);
  }
  give_turns();
}

void Flow::resume() {
  if (waiting_ == 0) return;
  std::vector<std::string> peers;
  for (const auto& [peer, client] : clients_) {
    if (client.requests() > 0) peers.push_back(peer);
  }
  for (const std::string& peer : peers) start_some(peer);
}

void Flow::start_all() {
  expected_ = 0;
  turns_.clear();
  for (auto& [peer, client] : std::exchange(clients_, {})) {
    waiting_ -= client.requests();
    for (const Long& request : client.put_back) request.start();
    for (const Start& start : client.waiting) start();
  }
}

void Flow::forget(const std::string& peer) {
  const auto found = clients_.find(peer);
  if (found == clients_.end()) return;
  waiting_ -= found->second.requests();
  expected_ -= found->second.expected;
  clients_.erase(found);
}

}  // namespace dslad::daemon
