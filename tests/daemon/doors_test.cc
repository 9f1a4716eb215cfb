// Peers at several sockets, as one.
#include "daemon/net/doors.h"

#include <chrono>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <set>
#include <thread>
#include <unistd.h>
#include <zmq.hpp>

#include "tests/daemon/fixture.h"

namespace dslad::daemon {
namespace {

using test::must;

class DoorsTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Doors>> bind(const std::string& urls) {
    PassedSockets none = PassedSockets::take();
    return Doors::bind(context_, urls, {1 << 24, 16, 64}, nullptr, {}, none);
  }
  std::string url(int number) const {
    return fmt::format("ipc:///tmp/dslad-doors-{}-{}.sock", ::getpid(), number);
  }
  zmq::socket_t connect(int number, const std::string& name) {
    zmq::socket_t socket(context_, zmq::socket_type::dealer);
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::rcvtimeo, 10'000);
    socket.set(zmq::sockopt::rcvhwm, 1);
    socket.set(zmq::sockopt::routing_id, name);
    socket.connect(url(number));
    return socket;
  }
  static Received receive(Doors& doors) {
    for (int i = 0; i < 1'000; ++i) {
      if (std::optional<Received> received = doors.receive()) return *std::move(received);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ADD_FAILURE() << "nothing came";
    return {};
  }
  static std::string text(zmq::socket_t& socket) {
    zmq::message_t message;
    return socket.recv(message) ? message.to_string() : "nothing";
  }

  zmq::context_t context_;
};

TEST_F(DoorsTest, PeersOfOneNameAtDifferentDoorsAreToldApart) {
  const auto doors = must(bind(url(1) + ", " + url(2)));
  EXPECT_EQ(doors->handles().size(), 2U);
  zmq::socket_t one = connect(1, "same"), two = connect(2, "same");
  one.send(zmq::str_buffer("from one"));
  const Received first = receive(*doors);
  two.send(zmq::str_buffer("from two"));
  const Received second = receive(*doors);
  EXPECT_EQ(first.frame, "from one");
  EXPECT_EQ(second.frame, "from two");
  EXPECT_NE(first.peer, second.peer);
  EXPECT_TRUE(second.from.user.has_value());

  EXPECT_TRUE(doors->send(second.peer, "to two"));
  EXPECT_TRUE(doors->send(first.peer, "to one"));
  EXPECT_EQ(text(one), "to one");
  EXPECT_EQ(text(two), "to two");

  two.close();
  std::vector<std::string> departed;
  for (int i = 0; i < 1'000 && departed.empty(); ++i) {
    departed = doors->take_departed();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_THAT(departed, ::testing::ElementsAre(second.peer));
  EXPECT_TRUE(doors->gone(second.peer));
  EXPECT_FALSE(doors->gone(first.peer));
  EXPECT_FALSE(doors->send(second.peer, "to nobody"));
}

TEST_F(DoorsTest, ABusyDoorDoesNotCloseTheOther) {
  const auto doors = must(bind(url(1) + " , " + url(2)));
  zmq::socket_t busy = connect(1, "busy"), quiet = connect(2, "quiet");
  for (int i = 0; i < 10; ++i) busy.send(zmq::str_buffer("again"));
  quiet.send(zmq::str_buffer("once"));
  for (void* const door : doors->handles()) {
    zmq_pollitem_t item = {door, 0, ZMQ_POLLIN, 0};
    ASSERT_EQ(zmq_poll(&item, 1, 10'000), 1);
  }
  std::set<std::string> frames;
  for (int i = 0; i < 2; ++i) frames.insert(receive(*doors).frame);
  EXPECT_THAT(frames, ::testing::ElementsAre("again", "once"));
}

TEST_F(DoorsTest, WhatIsUnreadIsCountedByPeerAndInAll) {
  const auto doors = must(bind(url(1) + "," + url(2)));
  zmq::socket_t one = connect(1, "one"), two = connect(2, "two");
  one.send(zmq::str_buffer("hello"));
  const std::string first = receive(*doors).peer;
  two.send(zmq::str_buffer("hello"));
  const std::string second = receive(*doors).peer;
  for (int i = 0; i < 4; ++i) {
    doors->send(first, std::string(std::size_t{8} << 20, 'x'));
    doors->send(second, std::string(std::size_t{8} << 20, 'x'));
  }
  const auto both = [&] { return doors->unsent(first) + doors->unsent(second); };
  for (std::size_t before = 0; before != both();) {  // until libzmq has taken what it can
    before = both();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  EXPECT_GT(doors->unsent(first), 0U);
  EXPECT_GT(doors->unsent(second), 0U);
  EXPECT_EQ(doors->unsent(), both());
}

TEST_F(DoorsTest, WhatIsNoListOfUrlsIsRefused) {
  for (const std::string urls : {"", " , "})
    EXPECT_EQ(bind(urls).error().code, ErrorCode::kInvalidArgument) << "'" << urls << "'";
  std::string many;
  for (int i = 0; i < 17; ++i) many += url(i) + ",";
  EXPECT_EQ(bind(many).error().code, ErrorCode::kInvalidArgument);
  const auto taken = must(bind(url(1)));
  EXPECT_EQ(bind(url(2) + "," + url(1)).error().code, ErrorCode::kRefused);
}

}  // namespace
}  // namespace dslad::daemon
