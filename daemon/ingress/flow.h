// How much of the daemon's memory clients' requests may take. Replies are as long as results are, so a
// request whose reply may be long starts only while few are under way, of its client's and of all, and its
// client reads what it was sent; otherwise it waits here, in the order in which it came. When all together
// are as many as may be, clients take turns. Where other clients' unread
// replies have used up what there is for all, it starts nevertheless, as most replies are short: one that
// turns out long is put back. Pure bookkeeping. Socket thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/outbox.h"

namespace dslad::daemon {

struct FlowLimits {
  std::uint32_t at_once = 2;                              // requests of one client that are under way
  std::size_t unread_bytes = std::size_t{16} << 20;       // of one client's replies, beyond which none begins
  std::size_t unread_bytes_all = std::size_t{256} << 20;  // of all clients'
  std::size_t short_bytes = std::size_t{64} << 10;        // replies that need not wait for other clients
  std::size_t waiting = 4'096;                            // requests of one client
  std::size_t waiting_all = 65'536;                       // of all clients
  std::uint32_t at_once_all = 32;  // requests of all clients that are under way: one thread answers them
};

class Flow {
 public:
  using Start = std::function<void()>;

  Flow(const Outbox& outbox, const FlowLimits& limits) : outbox_(outbox), limits_(limits) {}

  // Calls `start` now or later. False where too many of them wait already: it will never be called.
  bool enter(const std::string& peer, Start start);

  // One that was started has been answered, or its client has gone.
  void leave(const std::string& peer);

  // One that was started would be answered with so many bytes. False: send them. True: there is no room, and
  // the request waits for some; `start` will ask anew.
  bool put_back(const std::string& peer, std::size_t reply_bytes, Start start);

  // Whether the client has been sent more than it reads.
  [[nodiscard]] bool is_behind(const std::string& peer) const;

  // Starts what may start now; call it when replies have left.
  void resume();

  // Starts all that waits, whatever the limits: the daemon stops, and each shall be told.
  void start_all();

  // The client has gone: what waits of it is dropped.
  void forget(const std::string& peer);

  [[nodiscard]] std::size_t waiting() const { return waiting_; }

 private:
  struct Long {
    Start start;
    std::size_t reply_bytes = 0;
  };
  struct Client {
    std::uint32_t under_way = 0;
    std::size_t expected = 0;  // bytes of replies under way, of those that were put back
    std::deque<Long> put_back;
    std::deque<Start> waiting;
    bool has_turn = false;  // is in turns_
    [[nodiscard]] std::size_t requests() const { return put_back.size() + waiting.size(); }
  };
  // What may start next of a client; nothing where that is nothing.
  [[nodiscard]] Start take_next(const std::string& peer, Client& client);
  void end_one(Client& client);
  // Starts what may of the client's; where all together are as many as may be, it gets a turn.
  void start_some(const std::string& peer);
  void take_turn(const std::string& peer, Client& client);
  void give_turns();

  const Outbox& outbox_;
  const FlowLimits limits_;
  std::unordered_map<std::string, Client> clients_;  // those with requests under way or waiting
  std::deque<std::string> turns_;                    // of clients; some may have gone
  std::uint32_t under_way_ = 0;                      // of all clients, those that have gone too
  std::size_t waiting_ = 0;                          // of all clients
  std::size_t expected_ = 0;                         // likewise
};

}  // namespace dslad::daemon
