#include "worker/service/daemon_link.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <fmt/format.h>
#include <mutex>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>
#include <zmq.hpp>

#include "schema/codec.h"
#include "schema/keys/handshakes.h"

namespace dslad::worker {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kHelloAgain{1000};  // until the daemon has answered
constexpr milliseconds kConnectAgain{20};  // until there is a connection to say hello on
constexpr milliseconds kComplainAfter{2000};
constexpr milliseconds kKnockAgain{2000};                                 // with a key that was refused
constexpr std::uint32_t kFirstHeartbeatMs = 1000, kFirstLeaseMs = 10000;  // until it has said what it wants

}  // namespace

// What the daemon must hear about one lease.
struct HeldLease {
  schema::Lease lease;
  schema::Progress progress;
  std::optional<schema::WorkerResult> result;  // ended, not acknowledged
};

// Shared by the link's callers and its thread.
struct DaemonLink::State {
  zmq::context_t context{1};
  zmq::socket_t socket{context, zmq::socket_type::dealer};
  std::string url;
  std::optional<keys::ClientKeys> keys;        // on tcp, as are
  std::optional<keys::Handshakes> handshakes;  // of the link's thread
  int wake_fd = -1;                            // eventfd: something waits in `outbox`

  mutable std::mutex mutex;
  std::condition_variable arrived;
  std::deque<Order> orders;
  std::deque<std::string> outbox;
  std::vector<HeldLease> leases;
  schema::Hello hello;
  schema::EngineStats stats;
  bool welcomed = false;
  bool leaving = false;
  bool roused = false;

  std::thread thread;

  ~State() {
    if (wake_fd >= 0) close(wake_fd);
  }

  void wake() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = write(wake_fd, &one, sizeof one);  // full means: already awake
  }

  // The hello as of now. REQUIRES: mutex held.
  std::string introduction() {
    hello.leases.clear();
    for (const HeldLease& held : leases) hello.leases.push_back(held.lease);
    return schema::encode(hello);
  }

  // REQUIRES: mutex held.
  HeldLease* find(const schema::Lease& lease) {
    for (HeldLease& held : leases) {
      if (held.lease == lease) return &held;
    }
    return nullptr;
  }
};

// The thread: one socket, one wake-up, two clocks.
class DaemonLink::Loop {
 public:
  explicit Loop(State& state) : state_(state) {}

  void run() {
    say_hello();
    for (;;) {
      wait();
      receive();
      const std::lock_guard lock(state_.mutex);
      while (!state_.outbox.empty()) {
        send(state_.outbox.front());
        state_.outbox.pop_front();
      }
      if (state_.leaving) return;
      knock_again();
      keep_in_touch();
    }
  }

 private:
  void wait() {
    std::array<zmq::pollitem_t, 2> items{
        {{state_.socket.handle(), 0, ZMQ_POLLIN, 0}, {nullptr, state_.wake_fd, ZMQ_POLLIN, 0}}};
    const auto patience =
        std::chrono::duration_cast<milliseconds>(next_beat_ - Clock::now()) + milliseconds{1};
    try {
      zmq::poll(items, std::max(patience, milliseconds{0}));
    } catch (const zmq::error_t& error) {  // a signal: nothing is ready, the next turn looks again
      if (error.num() != EINTR) spdlog::warn("cannot wait for the daemon: {}", error.what());
      return;
    }
    std::uint64_t ignored = 0;
    if (items[1].revents != 0) [[maybe_unused]]
      const auto n = read(state_.wake_fd, &ignored, sizeof ignored);
  }

  // ZeroMQ gives up for good when a key is refused; the daemon's operator may authorise it any time.
  void knock_again() {
    if (!state_.handshakes || state_.handshakes->latest() != keys::Handshake::kRefused) return;
    const auto now = Clock::now();
    if (now < next_knock_) return;
    next_knock_ = now + kKnockAgain;
    if (!complained_) {
      spdlog::error(
          "the daemon at {} does not know the key {}: its operator can put {} among the keys of workers; "
          "trying on",
          state_.url, state_.keys->files.own, keys::public_file_of(state_.keys->files.own).string());
    }
    complained_ = true;
    try {
      state_.socket.disconnect(state_.url);
    } catch (const zmq::error_t&) {  // NOLINT(bugprone-empty-catch): it has gone already
    }
    try {
      state_.socket.connect(state_.url);
    } catch (const zmq::error_t& error) {
      spdlog::warn("cannot connect to the daemon: {}", error.what());
    }
  }

  // Hello while the daemon is silent, else a heartbeat when one is due. REQUIRES: mutex held.
  void keep_in_touch() {
    const auto now = Clock::now();
    if (now < next_beat_) return;
    if (state_.welcomed && now - last_heard_ > milliseconds{lease_ms_}) {
      spdlog::debug("the daemon has been silent for {} ms; saying hello again", lease_ms_);
      state_.welcomed = false;
    }
    if (!state_.welcomed) return say_hello_locked();
    schema::Heartbeat beat;
    beat.engine = state_.stats;
    beat.room = state_.hello.room;
    for (const HeldLease& held : state_.leases) beat.leases.push_back({held.lease, held.progress});
    send(schema::encode(beat));
    next_beat_ = now + milliseconds{heartbeat_ms_};
  }

  void say_hello() {
    const std::lock_guard lock(state_.mutex);
    say_hello_locked();
  }

  void say_hello_locked() {
    const bool sent = send(state_.introduction());
    next_beat_ = Clock::now() + (sent ? kHelloAgain : kConnectAgain);
    complain();
  }

  // Once a silence: a worker with the wrong URL must not wait wordlessly.
  void complain() {
    if (complained_ || Clock::now() - last_heard_ < kComplainAfter) return;
    complained_ = true;
    if (state_.handshakes && state_.handshakes->latest() == keys::Handshake::kFailed) {
      spdlog::warn(
          "what answers at {} does not have the key {}; name the daemon's public key with --server-key. "
          "Trying on",
          state_.url, state_.keys->files.server);
      return;
    }
    spdlog::warn("no daemon answers at {}; is dslad running there? Trying on", state_.url);
  }

  // False where no daemon is connected: the frame is lost, hello brings it all back.
  bool send(const std::string& frame) {
    try {
      return state_.socket.send(zmq::buffer(frame), zmq::send_flags::dontwait).has_value();
    } catch (const zmq::error_t& error) {
      spdlog::warn("cannot send to the daemon: {}", error.what());
      return false;
    }
  }

  void receive() {
    for (;;) {
      zmq::message_t frame;
      try {
        if (!state_.socket.recv(frame, zmq::recv_flags::dontwait)) return;
      } catch (const zmq::error_t& error) {
        spdlog::warn("cannot receive from the daemon: {}", error.what());
        return;
      }
      last_heard_ = Clock::now();
      auto envelope = schema::Envelope::parse(frame.to_string());
      const Status handled = envelope ? handle(*envelope) : Status(envelope.error());
      if (!handled) spdlog::warn("ignoring a message of the daemon: {}", handled.error().message);
    }
  }

  Status handle(const schema::Envelope& envelope) {
    const std::string& kind = envelope.kind();
    if (kind == schema::Welcome::kKind) return on<schema::Welcome>(envelope);
    if (kind == schema::WhoAreYou::kKind) return on<schema::WhoAreYou>(envelope);
    if (kind == schema::ResultAck::kKind) return on<schema::ResultAck>(envelope);
    if (kind == schema::Assign::kKind) return on<schema::Assign>(envelope);
    if (kind == schema::CancelLease::kKind) return on<schema::CancelLease>(envelope);
    if (kind == schema::SetWorkerPlan::kKind) return on<schema::SetWorkerPlan>(envelope);
    if (kind == schema::Drain::kKind) return on<schema::Drain>(envelope);
    if (kind == schema::IdleWork::kKind) return on<schema::IdleWork>(envelope);
    if (kind == schema::HeartbeatAck::kKind) return ok_status();  // it was heard: that is all that it says
    if (kind == schema::ErrorReply::kKind) return schema::decode_reply<schema::Welcome>(envelope).error();
    return Error{ErrorCode::kInvalidArgument, fmt::format("unknown kind '{}'", kind)};
  }

  template <typename Message>
  Status on(const schema::Envelope& envelope) {
    auto message = schema::decode<Message>(envelope);
    if (!message) return message.error();
    const std::lock_guard lock(state_.mutex);
    accept(*std::move(message));
    return ok_status();
  }

  void accept(schema::Welcome welcome) {
    heartbeat_ms_ = std::max<std::uint32_t>(welcome.heartbeat_ms, 1);
    lease_ms_ = std::max(welcome.lease_ms, heartbeat_ms_);
    if (!state_.welcomed) spdlog::info("connected to the daemon; lease {} ms", lease_ms_);
    state_.welcomed = true;
    complained_ = false;
    next_beat_ = Clock::now();
    if (idle_work_) accept(schema::IdleWork{});  // a daemon that allows it says so again
    for (const HeldLease& held : state_.leases) {
      if (held.result) send(schema::encode(*held.result));
    }
  }

  void accept(schema::WhoAreYou) {
    state_.welcomed = false;
    say_hello_locked();
  }

  void accept(schema::ResultAck ack) {
    std::erase_if(state_.leases, [&](const HeldLease& held) { return held.lease == ack.lease; });
    if (!ack.accepted) spdlog::info("the daemon had no use for the result of job {}", ack.lease.job);
  }

  // The same lease twice is one job: an assignment may be repeated after a reconnect.
  void accept(schema::Assign assign) {
    if (state_.find(assign.lease) != nullptr) return;
    state_.leases.push_back({assign.lease, {}, {}});
    hand_over(std::move(assign));
  }

  void accept(schema::CancelLease cancel) {
    std::erase_if(state_.leases, [&](const HeldLease& held) { return held.lease == cancel.lease; });
    hand_over(std::move(cancel));
  }

  void accept(schema::SetWorkerPlan change) { hand_over(std::move(change)); }
  void accept(schema::Drain drain) { hand_over(drain); }
  void accept(schema::IdleWork work) {
    idle_work_ = work.allowed;
    hand_over(work);
  }

  template <typename Message>
  void hand_over(Message message) {
    state_.orders.emplace_back(std::move(message));
    state_.arrived.notify_all();
  }

  State& state_;
  Clock::time_point next_beat_ = Clock::now(), last_heard_ = Clock::now(), next_knock_ = Clock::now();
  std::uint32_t heartbeat_ms_ = kFirstHeartbeatMs, lease_ms_ = kFirstLeaseMs;
  bool complained_ = false;
  bool idle_work_ = false;  // allowed
};

Result<std::unique_ptr<DaemonLink>> DaemonLink::open(const std::string& url, schema::Hello hello,
                                                     std::optional<keys::ClientKeys> keys) {
  auto state = std::make_unique<State>();
  state->hello = std::move(hello);
  state->url = url;
  state->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (state->wake_fd < 0)
    return Error{ErrorCode::kResourceExhausted, "no file descriptor is left for an eventfd"};
  try {
    state->socket.set(zmq::sockopt::linger, 0);
    state->socket.set(zmq::sockopt::immediate, true);  // queue nothing for a daemon that is away
    state->socket.set(zmq::sockopt::reconnect_ivl, 100);
    state->socket.set(zmq::sockopt::reconnect_ivl_max, 2000);
    state->socket.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(schema::kMaxFrameBytes));
    state->keys = std::move(keys);
    if (state->keys) {
      keys::use_keys(state->socket.handle(), *state->keys);
      state->handshakes.emplace(state->context.handle(), state->socket.handle());
    }
    state->socket.connect(url);
  } catch (const zmq::error_t& error) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("cannot connect to '{}': {}", url, error.what())};
  }
  return std::unique_ptr<DaemonLink>(new DaemonLink(std::move(state)));
}

DaemonLink::DaemonLink(std::unique_ptr<State> state) : state_(std::move(state)) {
  state_->thread = std::thread([state = state_.get()] { Loop(*state).run(); });
}

DaemonLink::~DaemonLink() {
  if (!state_->thread.joinable()) return;
  {
    const std::lock_guard lock(state_->mutex);
    state_->leaving = true;
  }
  state_->wake();
  state_->thread.join();
}

std::optional<Order> DaemonLink::take(milliseconds patience) {
  std::unique_lock lock(state_->mutex);
  state_->arrived.wait_for(lock, patience, [&] { return !state_->orders.empty() || state_->roused; });
  state_->roused = false;
  if (state_->orders.empty()) return std::nullopt;
  Order order = std::move(state_->orders.front());
  state_->orders.pop_front();
  return order;
}

void DaemonLink::rouse() {
  const std::lock_guard lock(state_->mutex);
  state_->roused = true;
  state_->arrived.notify_all();
}

void DaemonLink::report_progress(const schema::Lease& lease, const schema::Progress& progress) {
  const std::lock_guard lock(state_->mutex);
  if (HeldLease* held = state_->find(lease)) held->progress = progress;
}

void DaemonLink::report_stats(const schema::EngineStats& stats) {
  const std::lock_guard lock(state_->mutex);
  state_->stats = stats;
}

void DaemonLink::finish(schema::WorkerResult result) {
  {
    const std::lock_guard lock(state_->mutex);
    HeldLease* held = state_->find(result.lease);
    if (held == nullptr) return;
    std::string frame = schema::encode(result);
    if (frame.size() > schema::kMaxFrameBytes) {
      result.outputs.clear();
      result.error =
          Error{ErrorCode::kResourceExhausted,
                fmt::format("the answers take {} bytes and a message holds {}: ask for fewer tokens, or "
                            "fewer questions a job",
                            frame.size(), schema::kMaxFrameBytes)};
      frame = schema::encode(result);
    }
    state_->outbox.push_back(std::move(frame));
    held->result = std::move(result);
  }
  state_->wake();
}

void DaemonLink::answer(const schema::PlanResult& result) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->hello.plan = result.plan;
    state_->hello.generation = result.generation;
    state_->hello.layer_info = result.layer_info;
    state_->outbox.push_back(schema::encode(result));
  }
  state_->wake();
}

void DaemonLink::report_plans(const schema::PlanTable& table) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->hello.edition = table.edition;
    state_->hello.plans = table.plans;
    state_->hello.plan = table.plan;
    state_->hello.layer_info = table.layer_info;
    state_->hello.chain_fault = table.chain_fault;
    state_->outbox.push_back(schema::encode(table));
  }
  state_->wake();
}

void DaemonLink::report_room(schema::Room room) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->hello.room = room.room;
    for (const schema::Lease& lease : room.begun) {
      HeldLease* const held = state_->find(lease);
      const bool waits = held != nullptr && held->progress.phase == schema::Phase::kWaiting;
      if (waits)
        held->progress.phase = schema::Phase::kPrefill;  // for heartbeats, should this message be lost
    }
    state_->outbox.push_back(schema::encode(room));
  }
  state_->wake();
}

void DaemonLink::take_nothing_new() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->hello.capacity = 0;
    state_->outbox.push_back(state_->introduction());
  }
  state_->wake();
}

void DaemonLink::decline(const schema::Lease& lease) {
  {
    const std::lock_guard lock(state_->mutex);
    std::erase_if(state_->leases, [&](const HeldLease& held) { return held.lease == lease; });
    state_->outbox.push_back(state_->introduction());
  }
  state_->wake();
}

bool DaemonLink::welcomed() const {
  const std::lock_guard lock(state_->mutex);
  return state_->welcomed;
}

std::size_t DaemonLink::unacknowledged() const {
  const std::lock_guard lock(state_->mutex);
  return static_cast<std::size_t>(std::count_if(state_->leases.begin(), state_->leases.end(),
                                                [](const auto& held) { return held.result.has_value(); }));
}

void DaemonLink::leave(const std::string& reason, const std::optional<Error>& error) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->outbox.push_back(schema::encode(schema::Goodbye{reason, error}));
    state_->leaving = true;
  }
  state_->wake();
  state_->thread.join();
  // The frame is in ZeroMQ's hands; give it time to reach the peer when the socket closes, on a busy machine
  // too.
  state_->socket.set(zmq::sockopt::linger, 2'000);
}

}  // namespace dslad::worker
