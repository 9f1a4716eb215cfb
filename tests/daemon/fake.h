// Stand-ins for the daemon's edges: a clock that a test turns, an outbox that keeps what was sent.
#pragma once

#include <gtest/gtest.h>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "daemon/clock.h"
#include "daemon/outbox.h"
#include "daemon/service/feed.h"
#include "schema/codec.h"

namespace dslad::daemon::test {

class FakeClock final : public Clock {
 public:
  [[nodiscard]] std::int64_t wall_ms() const override { return 1'700'000'000'000 + now_ms_ + jumped_ms_; }
  [[nodiscard]] std::int64_t steady_ms() const override { return now_ms_; }
  void pass(std::int64_t ms) { now_ms_ += ms; }
  void jump(std::int64_t ms) { jumped_ms_ += ms; }  // somebody sets the wall clock

 private:
  std::int64_t now_ms_ = 1'000;
  std::int64_t jumped_ms_ = 0;
};

class FakeOutbox final : public Outbox {
 public:
  bool send(const std::string& peer, std::string frame) override {
    if (gone_.contains(peer)) return false;
    Result<schema::Envelope> envelope = schema::Envelope::parse(std::move(frame));
    EXPECT_TRUE(envelope.ok());
    sent_.emplace_back(peer, *envelope);
    return true;
  }

  void lose(const std::string& peer) { gone_.insert(peer); }

  [[nodiscard]] bool gone(const std::string& peer) const override { return gone_.contains(peer); }

  // The peer reads nothing of what it is sent: so many bytes lie there.
  void leave_unread(const std::string& peer, std::size_t bytes) { unread_[peer] = bytes; }
  [[nodiscard]] std::size_t unsent(const std::string& peer) const override {
    const auto found = unread_.find(peer);
    return found == unread_.end() ? 0 : found->second;
  }
  [[nodiscard]] std::size_t unsent() const override {
    std::size_t bytes = 0;
    for (const auto& [peer, unread] : unread_) bytes += unread;
    return bytes;
  }

  // What was sent to the peer of this kind; it is taken out.
  template <typename Message>
  std::vector<Message> take(const std::string& peer) {
    std::vector<Message> messages;
    std::erase_if(sent_, [&](const auto& one) {
      if (one.first != peer || one.second.kind() != Message::kKind) return false;
      Result<Message> message = schema::decode<Message>(one.second);
      EXPECT_TRUE(message.ok()) << message.error().message;
      if (message) messages.push_back(std::move(message).value());
      return true;
    });
    return messages;
  }

 private:
  std::vector<std::pair<std::string, schema::Envelope>> sent_;
  std::set<std::string> gone_;
  std::map<std::string, std::size_t> unread_;
};

class RecordedFeed final : public EventSink {
 public:
  void on_event(const schema::Event& event) override { events_.push_back(event); }

  [[nodiscard]] std::vector<schema::Event> of(const std::string& topic) const {
    std::vector<schema::Event> found;
    for (const schema::Event& event : events_) {
      if (event.topic == topic) found.push_back(event);
    }
    return found;
  }

 private:
  std::vector<schema::Event> events_;
};

}  // namespace dslad::daemon::test
