#include "daemon/net/router.h"

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <utility>
#include <zmq.hpp>

#include "daemon/net/bind.h"
#include "daemon/net/inflow.h"

namespace dslad::daemon {
namespace {

constexpr char kDealer = 'D';
constexpr char kReq = 'R';
constexpr int kLingerMs = 500;  // for the last replies when the daemon stops

// A host that says nothing for so long, and answers none of so many probes, is gone. It is TCP that asks:
// ZMTP's own pings are not for a server, since libzmq writes them to connections that have broken while their
// input waited to be read, and aborts (seen with 4.3.4).
constexpr int kQuietS = 30, kProbeS = 10, kProbes = 3;

// Smaller frames are copied by libzmq and not counted: the number of a peer's frames is bounded, too.
constexpr std::size_t kCountedBytes = 512;

// How long messages of a connection that has ended may lie unread.
constexpr std::chrono::seconds kRememberLeft{60};

// Names that libzmq gives to those who bring none: a zero and a number that it counts up.
bool is_unique(const std::string& peer) {
  return peer.size() == 6 && peer[1] == '\0';
}

std::string text_of(const zmq::message_t& part) {
  return {static_cast<const char*>(part.data()), part.size()};
}

// The rest of the message whose first frame, the identity, was read, and what it counts for (inflow.h).
struct Rest {
  std::vector<zmq::message_t> parts;
  std::size_t counted = 0;
};

Rest read_rest(zmq::socket_t& socket, const zmq::message_t& first, bool by_key) {
  Rest rest;
  bool more = first.more();
  while (more) {
    zmq::message_t part;
    if (!socket.recv(part, zmq::recv_flags::dontwait)) break;
    more = part.more();
    rest.counted += by_key ? counted_bytes_by_curve(part.size()) : counted_bytes(part.size());
    if (rest.parts.size() < 3) rest.parts.push_back(std::move(part));  // three are too many already
  }
  return rest;
}

// The connection that the message came by; -1 where libzmq does not say.
int connection_of(std::vector<zmq::message_t>& parts) {
  if (parts.empty()) return -1;
  try {
    return parts.back().get(ZMQ_SRCFD);
  } catch (const zmq::error_t&) {
    return -1;
  }
}

// What libzmq says of the connection that the message came by; empty where it says nothing.
std::string property_of(zmq::message_t& part, const char* name) {
  try {
    const char* const text = part.gets(name);  // NOLINT(clang-analyzer-security.insecureAPI.gets): a property
    return text == nullptr ? "" : text;
  } catch (const zmq::error_t&) {
    return {};
  }
}

// libzmq ends a local peer's address with ":UID:GID:PID", which the kernel told it when the connection was
// made. The descriptor would not do: it may be another's by the time that the message is read.
std::optional<LocalUser> user_of(std::string_view address) {
  std::array<std::uint32_t, 3> numbers{};  // pid, gid, uid
  for (std::uint32_t& number : numbers) {
    const std::size_t colon = address.rfind(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const std::string_view digits = address.substr(colon + 1);
    const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (code != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    address = address.substr(0, colon);
  }
  return LocalUser{numbers[2], numbers[1]};
}

// Peers may name properties of their own: of the two, only that is asked for which libzmq itself sets for
// such a socket, and then before all others.
Identity identity_of(std::vector<zmq::message_t>& parts, bool by_key) {
  if (parts.empty()) return {};
  if (by_key) return {std::nullopt, property_of(parts.back(), "User-Id")};
  return {user_of(property_of(parts.back(), "Peer-Address")), ""};
}

// A monitor of `socket` under an address of its own.
std::unique_ptr<zmq::socket_t> watch(zmq::context_t& context, zmq::socket_t& socket) {
  static std::atomic<int> last{0};
  const std::string address = fmt::format("inproc://connections-{}", ++last);
  if (zmq_socket_monitor(socket.handle(), address.c_str(), ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED) != 0)
    throw zmq::error_t();
  auto monitor = std::make_unique<zmq::socket_t>(context, zmq::socket_type::pair);
  monitor->set(zmq::sockopt::rcvhwm, 0);  // an event that is dropped would be a peer that never leaves
  monitor->set(zmq::sockopt::linger, 0);
  monitor->connect(address);
  return monitor;
}

}  // namespace

// Frames that libzmq holds, of one peer or of all.
struct Router::Sent {
  using Time = std::chrono::steady_clock::time_point;
  std::atomic<std::size_t> bytes{0};
  std::atomic<Time> moved{Time{}};  // when the first of these was sent, or one of them left
  std::function<void()> on_sent;
};

namespace {

// A frame on its way, until libzmq is done with it.
struct Frame {
  std::string text;
  std::function<void(std::size_t)> done;
  std::atomic<bool> handed_over{false};  // libzmq's queue orders the two threads; here it can be seen
};

// On libzmq's thread.
void free_frame(void*, void* frame) {
  const std::unique_ptr<Frame> owned(static_cast<Frame*>(frame));
  if (owned->handed_over.load(std::memory_order_acquire)) owned->done(owned->text.size());
}

}  // namespace

Router::Router(std::unique_ptr<zmq::socket_t> socket, std::unique_ptr<zmq::socket_t> monitor,
               std::function<void()> on_sent, bool by_key)
    : sent_(std::make_shared<Sent>()),
      socket_(std::move(socket)),
      monitor_(std::move(monitor)),
      by_key_(by_key) {
  sent_->on_sent = std::move(on_sent);
}

Router::~Router() {
  zmq_socket_monitor(socket_->handle(), nullptr, 0);
}

Result<std::unique_ptr<Router>> Router::bind(zmq::context_t& context, const std::string& url,
                                             const RouterLimits& limits, std::function<void()> on_sent,
                                             const ServerCurve& curve, int listener) {
  try {
    auto socket = std::make_unique<zmq::socket_t>(context, zmq::socket_type::router);
    socket->set(zmq::sockopt::router_mandatory, true);
    // Who brings another's name shall not get what that one asked for: it has its name until it leaves.
    socket->set(zmq::sockopt::router_handover, false);
    socket->set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(limits.frame_bytes));
    socket->set(zmq::sockopt::rcvhwm, limits.frames_in);
    socket->set(zmq::sockopt::sndhwm, limits.frames_out);
    socket->set(zmq::sockopt::linger, kLingerMs);
    socket->set(zmq::sockopt::tcp_keepalive, 1);
    socket->set(zmq::sockopt::tcp_keepalive_idle, kQuietS);
    socket->set(zmq::sockopt::tcp_keepalive_intvl, kProbeS);
    socket->set(zmq::sockopt::tcp_keepalive_cnt, kProbes);
    auto monitor = watch(context, *socket);
    if (Status status = secure(*socket, url, curve); !status) return status.error();
    if (Status status = bind_socket(*socket, url, listener); !status) return status.error();
    return std::unique_ptr<Router>(
        new Router(std::move(socket), std::move(monitor), std::move(on_sent), needs_keys(url)));
  } catch (const zmq::error_t& error) {
    return Error{ErrorCode::kUnavailable, url + ": " + error.what()};
  }
}

std::optional<Received> Router::receive() {
  try {
    zmq::message_t identity;
    if (!socket_->recv(identity, zmq::recv_flags::dontwait)) return std::nullopt;
    auto [parts, counted] = read_rest(*socket_, identity, by_key_);
    const int connection = connection_of(parts);
    if (counted > 0 || by_key_) note_read(connection, counted);
    const bool req = parts.size() == 2 && parts[0].empty();
    const bool dealer = parts.size() == 1;
    const std::string frame = req || dealer ? text_of(parts.back()) : std::string();
    std::string peer = (req ? kReq : kDealer) + text_of(identity);
    note_connection(connection, peer);
    return Received{std::move(peer), frame, identity_of(parts, by_key_)};
  } catch (const zmq::error_t&) {  // interrupted by a signal: nothing was read
    return std::nullopt;
  }
}

// A descriptor is used again as soon as it is closed. libzmq tells of the end of its connection before it
// closes it, so that the end lies in the monitor by the time that a message of the next connection can be
// read; so does its beginning, as one thread of libzmq's (the context has no more) accepts and reads.
void Router::note_connection(int fd, const std::string& peer) {
  if (fd < 0) return;
  const auto known = peers_.find(fd);
  if (known != peers_.end() && known->second == peer) return;
  follow_connections();
  if (left_.contains(peer) || !open_.contains(fd)) return leave(peer);
  depart(fd);  // where libzmq said nothing
  peers_[fd] = peer;
  connections_[peer] = fd;
}

void Router::follow_connections() {
  try {
    zmq::message_t event;
    while (monitor_->recv(event, zmq::recv_flags::dontwait)) {
      if (event.size() >= 6) follow(static_cast<const char*>(event.data()));
      while (event.more() && monitor_->recv(event, zmq::recv_flags::dontwait)) {  // the address
      }
    }
  } catch (const zmq::error_t&) {  // NOLINT(bugprone-empty-catch): interrupted; the next call goes on
  }
}

// `event`: its kind in 16 bits, then the descriptor in 32.
void Router::follow(const char* event) {
  std::uint16_t kind = 0;
  std::int32_t fd = 0;
  std::memcpy(&kind, event, sizeof(kind));
  std::memcpy(&fd, event + sizeof(kind), sizeof(fd));
  if (kind == ZMQ_EVENT_ACCEPTED) {
    open_.insert(fd);
  } else {
    open_.erase(fd);
    depart(fd);
  }
}

void Router::depart(int fd) {
  auto node = peers_.extract(fd);
  if (node.empty()) return;
  const std::string& peer = node.mapped();
  const auto connection = connections_.find(peer);
  if (connection != connections_.end() && connection->second != fd) return;  // it has another one by now
  connections_.erase(peer);
  unsent_.erase(peer);  // what is under way goes with the connection
  leave(peer);
}

// Told again where a message of it is read only now: what that one asked for shall end, too.
void Router::leave(const std::string& peer) {
  if (is_unique(peer) && left_.insert(peer).second)
    left_at_.emplace_back(std::chrono::steady_clock::now(), peer);
  departed_.push_back(peer);
}

void Router::forget_who_left() {
  const auto before = std::chrono::steady_clock::now() - kRememberLeft;
  for (; !left_at_.empty() && left_at_.front().first < before; left_at_.pop_front())
    left_.erase(left_at_.front().second);
}

std::vector<std::string> Router::take_departed() {
  follow_connections();
  forget_who_left();
  return std::exchange(departed_, {});
}

bool Router::send(const std::string& peer, std::string frame) {
  try {
    const std::string_view identity = std::string_view(peer).substr(1);
    const auto flags = zmq::send_flags::sndmore | zmq::send_flags::dontwait;
    if (!socket_->send(zmq::buffer(identity), flags)) return false;
    if (peer.front() == kReq && !socket_->send(zmq::message_t(), flags)) return false;
    if (frame.size() < kCountedBytes)
      return socket_->send(zmq::buffer(frame), zmq::send_flags::dontwait).has_value();
    std::shared_ptr<Sent>& of_peer = unsent_[peer];
    if (!of_peer) of_peer = std::make_shared<Sent>();
    if (of_peer->bytes == 0) of_peer->moved = std::chrono::steady_clock::now();
    of_peer->bytes += frame.size();
    sent_->bytes += frame.size();
    auto* const under_way = new Frame{std::move(frame), [all = sent_, one = of_peer](std::size_t bytes) {
                                        one->bytes -= bytes;
                                        one->moved = std::chrono::steady_clock::now();
                                        all->bytes -= bytes;
                                        if (all->on_sent) all->on_sent();
                                      }};
    under_way->handed_over.store(true, std::memory_order_release);
    zmq::message_t message(under_way->text.data(), under_way->text.size(), free_frame, under_way);
    return socket_->send(std::move(message), zmq::send_flags::dontwait).has_value();
  } catch (const zmq::error_t&) {  // the peer has gone
    return false;
  }
}

void Router::drop_who_does_not_read(Sent::Time since) {
  follow_connections();
  for (const auto& [peer, fd] : connections_) {
    const auto found = unsent_.find(peer);
    if (found != unsent_.end() && found->second->bytes > 0 && found->second->moved.load() < since)
      cut_connection(fd);
  }
}

std::size_t Router::unsent(const std::string& peer) const {
  const auto found = unsent_.find(peer);
  return found == unsent_.end() ? 0 : found->second->bytes.load();
}

std::size_t Router::unsent() const {
  return sent_->bytes;
}

void* Router::handle() {
  return socket_->handle();
}

}  // namespace dslad::daemon
