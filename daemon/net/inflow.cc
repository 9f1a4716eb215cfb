#include "daemon/net/inflow.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>

namespace dslad::daemon {
namespace {

constexpr std::size_t kGreeting = 64;
constexpr std::size_t kSignatureEnd = 9, kVersionAt = 10;  // of the greeting
constexpr std::byte kSignatureStart{0xFF}, kSignatureLast{0x7F}, kZmtp3{3};
constexpr std::size_t kMechanismAt = 12;
constexpr std::string_view kCurve("CURVE\0", 6);
constexpr std::byte kMore{1}, kLong{2}, kCommand{4};  // flags of a frame
constexpr std::size_t kFrameCost = 128;               // of libzmq's memory, besides what it carries
constexpr std::size_t kSmall = 512;
constexpr std::size_t kCurveCost = 33;  // RFC 26: its name, a nonce, an authenticator, flags

// How long messages of a connection that has ended may wait to be read; what is older is gone with it.
constexpr std::chrono::seconds kLeftBehindFor{10};

}  // namespace

std::size_t counted_bytes(std::size_t frame_bytes) {
  return frame_bytes < kSmall ? 0 : frame_bytes + kFrameCost;
}

std::size_t counted_bytes_by_curve(std::size_t frame_bytes) {
  return counted_bytes(frame_bytes + kCurveCost);
}

void MessageMeter::feed(std::span<const std::byte> bytes) {
  while (!bytes.empty() && !foreign_) {
    if (greeting_read_ < kGreeting) {
      read_greeting(bytes.front());
      bytes = bytes.subspan(1);
    } else if (!in_body_) {
      read_header(bytes.front());
      bytes = bytes.subspan(1);
    } else {
      const std::size_t read = std::min<std::uint64_t>(bytes.size(), body_left_);
      body_left_ -= read;
      frame_ += read;
      bytes = bytes.subspan(read);
    }
    if (in_body_ && body_left_ == 0) end_frame();
  }
}

void MessageMeter::read_greeting(std::byte byte) {
  const std::size_t at = greeting_read_++;
  foreign_ = (at == 0 && byte != kSignatureStart) || (at == kSignatureEnd && byte != kSignatureLast) ||
             (at == kVersionAt && byte < kZmtp3);
  if (at >= kMechanismAt && at < kMechanismAt + kCurve.size())
    by_curve_ = by_curve_ && byte == static_cast<std::byte>(kCurve[at - kMechanismAt]);
}

void MessageMeter::read_header(std::byte byte) {
  header_[header_read_++] = byte;
  const bool is_long = (header_[0] & kLong) != std::byte{};
  if (header_read_ < (is_long ? 9U : 2U)) return;
  body_bytes_ = 0;
  for (std::size_t i = 1; i < header_read_; ++i) {
    body_bytes_ = body_bytes_ << 8 | std::to_integer<std::uint64_t>(header_[i]);
  }
  body_left_ = body_bytes_;
  header_read_ = 0;
  frame_ = kFrameCost;
  in_body_ = true;
}

void MessageMeter::end_frame() {
  in_body_ = false;
  const std::size_t bytes = std::exchange(frame_, 0), counted = counted_bytes(body_bytes_);
  if ((header_[0] & kCommand) != std::byte{}) return;
  if (by_curve_ && counted > 0) {
    ++whole_;
    whole_bytes_ += counted;
    return;
  }
  message_ += bytes;
  counted_ += counted;
  if (by_curve_ || (header_[0] & kMore) != std::byte{}) return;
  ++whole_;
  whole_bytes_ += counted_;
  message_ = counted_ = 0;
}

void Inflow::open(int fd, Time now, bool subscriber) {
  close(fd, now);
  Connection& connection = connections_[fd];
  connection.subscriber = subscriber;
  connection.since = now;
}

bool Inflow::says_too_much(Connection& connection, std::size_t bytes, Time now) const {
  connection.said += bytes;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - connection.since).count();
  return connection.said > limits_.subscriber_bytes + limits_.subscriber_bytes_per_s * seconds;
}

void Inflow::close(int fd, Time now) {
  const auto found = connections_.find(fd);
  if (found == connections_.end()) return;
  half_bytes_ -= found->second.half();
  if (found->second.unread > 0) left_behind_.emplace_back(now, found->second.unread);
  connections_.erase(found);
}

std::vector<int> Inflow::arrived(int fd, std::span<const std::byte> bytes, Time now) {
  const auto found = connections_.find(fd);
  if (found == connections_.end()) return {};
  Connection& connection = found->second;
  if (connection.subscriber) {
    if (!says_too_much(connection, bytes.size(), now)) return {};
    close(fd, now);
    return {fd};
  }
  const std::size_t half = connection.half(), whole_bytes = connection.meter.whole_bytes();
  const std::uint64_t whole = connection.meter.whole();
  connection.meter.feed(bytes);
  forgive_pings(connection, now);
  half_bytes_ = half_bytes_ - half + connection.half();
  connection.unread += connection.meter.whole_bytes() - whole_bytes;
  unread_bytes_ += connection.meter.whole_bytes() - whole_bytes;
  if (half == 0 || connection.meter.whole() > whole) connection.moved = ++last_moved_;
  if (connection.meter.is_foreign() || connection.half() > limits_.message_bytes) {
    close(fd, now);
    return {fd};
  }
  if (half_bytes_ <= limits_.half_bytes) return {};
  return cut_first(half_bytes_ - limits_.half_bytes / 4 * 3, &Connection::half, now);
}

void Inflow::forgive_pings(Connection& connection, Time now) const {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - connection.since);
  if (!connection.meter.by_curve() || seconds.count() <= 0) return;
  connection.meter.forgive(limits_.curve_bytes_per_s * static_cast<std::size_t>(seconds.count()));
  connection.since += seconds;
}

void Inflow::read(int fd, std::size_t bytes) {
  const auto found = connections_.find(fd);
  if (found != connections_.end() && found->second.meter.by_curve()) {
    half_bytes_ -= found->second.half();
    found->second.meter.message_read();
    half_bytes_ += found->second.half();
  }
  if (found != connections_.end() && found->second.unread >= bytes) {
    found->second.unread -= bytes;
    found->second.moved = ++last_moved_;
    unread_bytes_ -= bytes;
    return;
  }
  while (bytes > 0 && !left_behind_.empty()) {
    std::size_t& oldest = left_behind_.front().second;
    const std::size_t read = std::min(bytes, oldest);
    bytes -= read;
    oldest -= read;
    unread_bytes_ -= read;
    if (oldest == 0) left_behind_.pop_front();
  }
}

bool Inflow::has_room(Time now) {
  forget_left_behind(now - kLeftBehindFor);
  return unread_bytes_ <= limits_.unread_bytes;
}

std::vector<int> Inflow::give_up(Time now) {
  forget_left_behind(now);
  if (unread_bytes_ <= limits_.unread_bytes) return {};
  const std::size_t too_many = unread_bytes_ - limits_.unread_bytes / 4 * 3;
  std::vector<int> cut = cut_first(
      too_many, [](const Connection& one) { return one.unread; }, now);
  forget_left_behind(now);  // theirs
  return cut;
}

void Inflow::forget_left_behind(Time until) {
  for (; !left_behind_.empty() && left_behind_.front().first <= until; left_behind_.pop_front()) {
    unread_bytes_ -= left_behind_.front().second;
  }
}

// Those that have not moved for longest, as many as take `too_many` bytes: more than must be, so that they
// need not be sought each time that something arrives.
template <typename Bytes>
std::vector<int> Inflow::cut_first(std::size_t too_many, Bytes bytes, Time now) {
  std::vector<std::pair<std::uint64_t, int>> candidates;
  for (const auto& [fd, connection] : connections_) {
    if (std::invoke(bytes, connection) > 0) candidates.emplace_back(connection.moved, fd);
  }
  std::sort(candidates.begin(), candidates.end());
  std::vector<int> cut;
  for (std::size_t freed = 0; const auto& [moved, fd] : candidates) {
    if (freed >= too_many) break;
    freed += std::invoke(bytes, connections_.at(fd));
    cut.push_back(fd);
  }
  for (const int fd : cut) close(fd, now);
  return cut;
}

}  // namespace dslad::daemon
