// How much memory messages may take before the daemon has read them. libzmq bounds the length of a frame and
// how many messages of one peer wait, but neither how many frames a message has, nor what all peers' messages
// take together. Here these are bounded:
//
// - messages that have not come whole: those that began first are cut off with their connections, since who
//   means well is soon done;
// - messages that are whole and were not read: nothing more is received while the daemon reads. Those that it
//   does not read, because libzmq does not show them (a second peer of one name), are cut off likewise;
// - what subscribers send at all, since libzmq keeps each subscription.
//
// A peer that is cut off tries again by itself.
//
// With CURVE each frame looks like a message. Large ones are whole and unread until the daemon reads them;
// small ones are of a message that is not whole until it reads any, but for as many as pings may be: those it
// never reads.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace dslad::daemon {

// What a frame counts for once its message is whole: nothing where it is small, for of these there are few,
// and pings are among them, which are never read.
[[nodiscard]] std::size_t counted_bytes(std::size_t frame_bytes);

// The same of a frame that came by CURVE and has been deciphered.
[[nodiscard]] std::size_t counted_bytes_by_curve(std::size_t frame_bytes);

// Follows what arrives on one connection, by ZMTP 3 (RFC 23): a greeting, then frames.
class MessageMeter {
 public:
  void feed(std::span<const std::byte> bytes);

  // By CURVE: a message was read, and small frames until now were of it; or so many bytes of them were pings.
  void message_read() { message_ = 0; }
  void forgive(std::size_t bytes) { message_ -= bytes < message_ ? bytes : message_; }
  [[nodiscard]] bool by_curve() const { return by_curve_; }

  // Messages that came whole, and what they count for.
  [[nodiscard]] std::uint64_t whole() const { return whole_; }
  [[nodiscard]] std::size_t whole_bytes() const { return whole_bytes_; }

  // Of the message under way: what has arrived of it, and what libzmq keeps for each of its frames.
  [[nodiscard]] std::size_t half_bytes() const { return message_ + frame_; }

  // Speaks something else, or ZMTP of before 2013: what it sends cannot be measured.
  [[nodiscard]] bool is_foreign() const { return foreign_; }

 private:
  void read_greeting(std::byte byte);
  void read_header(std::byte byte);
  void end_frame();

  std::size_t greeting_read_ = 0;
  std::array<std::byte, 9> header_{};  // flags, then the length in one byte or in eight
  std::size_t header_read_ = 0;
  bool in_body_ = false;
  std::uint64_t body_bytes_ = 0;
  std::uint64_t body_left_ = 0;
  std::uint64_t whole_ = 0;
  std::size_t whole_bytes_ = 0;
  std::size_t message_ = 0;  // of the message under way: frames that are whole,
  std::size_t counted_ = 0;  // what they count for,
  std::size_t frame_ = 0;    // and what has come of the next
  bool foreign_ = false;
  bool by_curve_ = true;  // so far as the greeting has been read
};

struct InflowLimits {
  std::size_t message_bytes = std::size_t{1} << 40;     // of one that is not whole, all its frames
  std::size_t half_bytes = std::size_t{1} << 40;        // of all that are not whole
  std::size_t unread_bytes = std::size_t{1} << 40;      // of all that are whole and were not read
  std::size_t subscriber_bytes = std::size_t{1} << 40;  // of one, whatever it sends,
  std::size_t subscriber_bytes_per_s = 0;               // and as much more as time goes by
  std::size_t curve_bytes_per_s = 0;                    // of small frames that may be pings, by CURVE
};

// The connections by their descriptors. Pure bookkeeping.
class Inflow {
 public:
  using Time = std::chrono::steady_clock::time_point;

  void limit(const InflowLimits& limits) { limits_ = limits; }

  void open(int fd, Time now, bool subscriber = false);

  // Its messages that are whole may still be read.
  void close(int fd, Time now);

  // What arrived on a connection that is open. Gives those to cut off, which end here.
  std::vector<int> arrived(int fd, std::span<const std::byte> bytes, Time now);

  // A message was read that counts for so much; the connection may have ended, or be the next one already.
  void read(int fd, std::size_t bytes);

  // Whether all that waits to be read leaves room for more.
  [[nodiscard]] bool has_room(Time now);

  // The daemon reads nothing more: connections to cut off, which end here.
  std::vector<int> give_up(Time now);

  [[nodiscard]] bool has(int fd) const { return connections_.contains(fd); }
  [[nodiscard]] std::size_t half_bytes() const { return half_bytes_; }
  [[nodiscard]] std::size_t unread_bytes() const { return unread_bytes_; }

 private:
  struct Connection {
    MessageMeter meter;
    std::size_t unread = 0;
    bool subscriber = false;
    Time since{};             // it was opened; by CURVE: pings have been forgiven up to then
    std::size_t said = 0;     // by a subscriber, since then
    std::uint64_t moved = 0;  // counts up: when last a message of it began, came whole, or was read
    [[nodiscard]] std::size_t half() const { return meter.half_bytes(); }
  };
  void forgive_pings(Connection& connection, Time now) const;
  void forget_left_behind(Time until);
  [[nodiscard]] bool says_too_much(Connection& connection, std::size_t bytes, Time now) const;
  template <typename Bytes>
  std::vector<int> cut_first(std::size_t too_many, Bytes bytes, Time now);

  InflowLimits limits_;
  std::unordered_map<int, Connection> connections_;
  std::deque<std::pair<Time, std::size_t>> left_behind_;  // by connections that ended: when, how much unread
  std::size_t half_bytes_ = 0;                            // of all
  std::size_t unread_bytes_ = 0;                          // likewise, with what was left behind
  std::uint64_t last_moved_ = 0;
};

// For all connections of the process whose sockets limit_connections bounds. They are measured in recv, which
// process_inflow.cc defines for the whole program and libzmq reads by. Call it before any socket is bound.
void limit_inflow(const InflowLimits& limits);

// Who connects to this URL, as libzmq writes it once it is bound, is a subscriber.
void expect_subscribers(const std::string& url);

// Accepted just now from that listening socket. Any thread.
void measure_connection(int fd, int listener);

// Inflow::read, of the process. Any thread.
void note_read(int fd, std::size_t bytes);

// Ends a connection of the process, as if its peer had: for whoever knows another reason. Any thread.
void cut_connection(int fd);

// Connections cut off so far.
std::uint64_t connections_cut();

}  // namespace dslad::daemon
