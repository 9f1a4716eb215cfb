// The link against a daemon of the test's own, over a real socket.
#include "worker/service/daemon_link.h"

#include <csignal>
#include <filesystem>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zmq.hpp>

#include "schema/codec.h"

namespace dslad::worker {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDeadline{20000};  // only to end a test that hangs

// A ROUTER that speaks for dslad; restart() makes it another daemon on the same URL.
class FakeDaemon {
 public:
  FakeDaemon() : url_(fmt::format("ipc:///tmp/dslad_link_test_{}", getpid())) { bind(); }
  ~FakeDaemon() { unlink(url_.substr(6).c_str()); }

  void restart() {
    socket_ = zmq::socket_t(context_, zmq::socket_type::router);
    bind();
  }

  // Skips other messages until one of this kind comes.
  template <typename Message>
  Message expect() {
    for (;;) {
      zmq::message_t frame;
      if (!socket_.recv(peer_) || !socket_.recv(frame)) throw std::runtime_error("the link said nothing");
      const auto envelope = schema::Envelope::parse(frame.to_string());
      if (!envelope) throw std::runtime_error(envelope.error().message);
      if (envelope->kind() != Message::kKind) continue;
      return schema::decode<Message>(*envelope).value();
    }
  }

  template <typename Message>
  void send(const Message& message) {
    socket_.send(zmq::buffer(peer_.to_string()), zmq::send_flags::sndmore);
    socket_.send(zmq::buffer(schema::encode(message)), zmq::send_flags::none);
  }

  void welcome() { send(schema::Welcome{2000, 20}); }

  [[nodiscard]] const std::string& url() const { return url_; }

 private:
  void bind() {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::rcvtimeo, static_cast<int>(kDeadline.count()));
    socket_.bind(url_);
  }

  std::string url_;
  zmq::context_t context_;
  zmq::socket_t socket_{context_, zmq::socket_type::router};
  zmq::message_t peer_;
};

class DaemonLinkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    schema::Hello hello;
    hello.name = "host:1:cpu";
    hello.instance = "instance";
    hello.capacity = 4;
    auto link = DaemonLink::open(daemon_.url(), hello);
    ASSERT_TRUE(link.ok()) << link.error().message;
    link_ = *std::move(link);
    EXPECT_EQ(daemon_.expect<schema::Hello>().instance, "instance");
    daemon_.welcome();
  }

  schema::Assign job(std::int64_t id) {
    schema::Assign assign;
    assign.lease = {id, 1};
    assign.spec.task = schema::Task::kGenerate;
    assign.spec.prompt = "text";
    return assign;
  }

  // REQUIRES: the daemon has assigned a job.
  schema::Lease take_job() {
    const auto order = link_->take(kDeadline);
    return std::get<schema::Assign>(order.value()).lease;
  }

  static schema::WorkerResult result_of(const schema::Lease& lease) {
    schema::WorkerResult result;
    result.lease = lease;
    result.outputs.push_back({std::nullopt, "answer", schema::FinishReason::kStop, 1});
    return result;
  }

  FakeDaemon daemon_;
  std::unique_ptr<DaemonLink> link_;
};

TEST_F(DaemonLinkTest, IdleWorkIsAllowedUntilTheDaemonThatDoesSoIsAnother) {
  const auto allowed = [&] { return std::get<schema::IdleWork>(link_->take(kDeadline).value()).allowed; };
  daemon_.send(schema::IdleWork{true});
  EXPECT_TRUE(allowed());
  daemon_.send(schema::WhoAreYou{});
  daemon_.expect<schema::Hello>();
  daemon_.welcome();
  EXPECT_FALSE(allowed());
  daemon_.send(schema::WhoAreYou{});
  daemon_.expect<schema::Hello>();
  daemon_.welcome();
  daemon_.send(schema::IdleWork{true});
  EXPECT_TRUE(allowed()) << "what was not allowed is not taken back";
}

TEST_F(DaemonLinkTest, HeartbeatsNameEveryLeaseWhileTheOwnerIsBusy) {
  daemon_.send(job(5));
  const auto lease = take_job();
  link_->report_progress(lease, {schema::Phase::kPrefill, 10, 100, 0});
  // The owner calls nothing more; the beats must come all the same.
  for (int seen = 0; seen < 3;) {
    const auto beat = daemon_.expect<schema::Heartbeat>();
    if (beat.leases.empty() || beat.leases[0].progress.prompt_done == 0) continue;
    EXPECT_EQ(beat.leases[0].lease, lease);
    EXPECT_EQ(beat.leases[0].progress.prompt_done, 10u);
    ++seen;
  }
}

TEST_F(DaemonLinkTest, AResultIsKeptUntilItIsAcknowledged) {
  daemon_.send(job(5));
  const auto lease = take_job();
  link_->finish(result_of(lease));
  EXPECT_EQ(daemon_.expect<schema::WorkerResult>().lease, lease);
  EXPECT_EQ(link_->unacknowledged(), 1u);

  daemon_.restart();  // it never acknowledged
  const auto hello = daemon_.expect<schema::Hello>();
  ASSERT_EQ(hello.leases.size(), 1u);
  EXPECT_EQ(hello.leases[0], lease);
  daemon_.welcome();
  EXPECT_EQ(daemon_.expect<schema::WorkerResult>().outputs[0].text, "answer");
  daemon_.send(schema::ResultAck{lease, true});
  while (link_->unacknowledged() > 0) usleep(1000);
}

TEST_F(DaemonLinkTest, AResultBeyondAFrameBecomesAnError) {
  daemon_.send(job(5));
  auto result = result_of(take_job());
  result.outputs[0].text.assign(schema::kMaxFrameBytes, 'a');
  link_->finish(result);
  const auto said = daemon_.expect<schema::WorkerResult>();
  ASSERT_TRUE(said.error.has_value());
  EXPECT_EQ(said.error->code, ErrorCode::kResourceExhausted);
  EXPECT_TRUE(said.outputs.empty());
}

TEST_F(DaemonLinkTest, ALinkThatTakesNothingNewSaysSoAndGivesBackWhatComesAllTheSame) {
  daemon_.send(job(5));
  const auto kept = take_job();
  link_->take_nothing_new();
  EXPECT_EQ(daemon_.expect<schema::Hello>().capacity, 0u);
  daemon_.send(job(6));
  link_->decline(take_job());
  const auto hello = daemon_.expect<schema::Hello>();
  EXPECT_EQ(hello.capacity, 0u);
  ASSERT_EQ(hello.leases.size(), 1u);
  EXPECT_EQ(hello.leases[0], kept);
}

TEST_F(DaemonLinkTest, ARepeatedAssignmentIsOneJob) {
  daemon_.send(job(5));
  daemon_.send(job(5));
  daemon_.send(job(6));
  EXPECT_EQ(take_job().job, 5);
  EXPECT_EQ(take_job().job, 6);
}

TEST_F(DaemonLinkTest, ARevokedLeaseYieldsNoResult) {
  daemon_.send(job(5));
  daemon_.send(schema::CancelLease{{5, 1}, "cancelled"});
  const auto lease = take_job();
  EXPECT_TRUE(std::holds_alternative<schema::CancelLease>(link_->take(kDeadline).value()));
  link_->finish(result_of(lease));
  EXPECT_EQ(link_->unacknowledged(), 0u);
}

TEST_F(DaemonLinkTest, AStrangerIsToldWhoItIs) {
  daemon_.send(job(5));
  const auto lease = take_job();
  daemon_.send(schema::WhoAreYou{});
  const auto hello = daemon_.expect<schema::Hello>();
  ASSERT_EQ(hello.leases.size(), 1u);
  EXPECT_EQ(hello.leases[0], lease);
}

TEST_F(DaemonLinkTest, GarbageIsIgnored) {
  daemon_.send(schema::Ping{});  // not for workers
  daemon_.send(job(5));
  EXPECT_EQ(take_job().job, 5);
}

// A signal for the process may reach any thread; poll() ends with EINTR in the one that gets it.
TEST_F(DaemonLinkTest, ASignalDoesNotEndTheLink) {
  std::signal(SIGUSR1, [](int) {});
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    const int thread = std::stoi(entry.path().filename().string());
    if (thread != getpid()) syscall(SYS_tgkill, getpid(), thread, SIGUSR1);
  }
  for (int beat = 0; beat < 3; ++beat) daemon_.expect<schema::Heartbeat>();
  std::signal(SIGUSR1, SIG_DFL);
}

TEST_F(DaemonLinkTest, RoomAndPlansAreToldAtOnceAndAgainToANewDaemon) {
  daemon_.send(job(5));
  const auto lease = take_job();
  link_->report_room({{lease}, 3});
  const auto room = daemon_.expect<schema::Room>();
  ASSERT_EQ(room.begun.size(), 1u);
  EXPECT_EQ(room.begun[0], lease);
  EXPECT_EQ(room.room, 3u);
  schema::PlanTable table;
  table.edition = "an edition";
  table.plans = {{0, 1.0, 100, 0}, {1, 0.5, 50, 10}};
  table.plan = 1;
  link_->report_plans(table);
  EXPECT_EQ(daemon_.expect<schema::PlanTable>().plans, table.plans);
  const auto beat = daemon_.expect<schema::Heartbeat>();
  EXPECT_EQ(beat.room, 3u);
  ASSERT_EQ(beat.leases.size(), 1u);
  EXPECT_NE(beat.leases[0].progress.phase, schema::Phase::kWaiting) << "it has begun";

  daemon_.restart();
  const auto hello = daemon_.expect<schema::Hello>();
  EXPECT_EQ(hello.room, 3u);
  EXPECT_EQ(hello.edition, "an edition");
  EXPECT_EQ(hello.plans, table.plans);
  EXPECT_EQ(hello.plan, 1u);
}

TEST_F(DaemonLinkTest, LeavingSaysGoodbye) {
  link_->leave("the test is over");
  link_.reset();
  EXPECT_EQ(daemon_.expect<schema::Goodbye>().reason, "the test is over");
}

TEST(DaemonLink, RefusesAUrlThatZeroMqCannotUse) {
  const auto link = DaemonLink::open("nonsense", {});
  ASSERT_FALSE(link.ok());
  EXPECT_NE(link.error().message.find("nonsense"), std::string::npos);
}

}  // namespace
}  // namespace dslad::worker
