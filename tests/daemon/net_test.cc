// Sockets as they are: connections that end, frames that nobody reads, files that are no sockets.
#include <atomic>
#include <chrono>
#include <fstream>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>
#include <zmq.hpp>

#include "base/process/descriptor.h"
#include "base/process/local_socket.h"
#include "daemon/net/bind.h"
#include "daemon/net/connection_limit.h"
#include "daemon/net/router.h"
#include "tests/daemon/fixture.h"

namespace dslad::daemon {
namespace {

using test::must;

class NetTest : public ::testing::Test {
 protected:
  std::unique_ptr<Router> bind() {
    return must(Router::bind(context_, url_, {1 << 24, 16, 64}, [this] { ++sent_; }));
  }
  zmq::socket_t connect() {
    zmq::socket_t socket(context_, zmq::socket_type::dealer);
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::rcvhwm, 1);  // what it does not read waits at the other side
    socket.connect(url_);
    return socket;
  }
  // What `look` gives once it is not empty; empty after a long time.
  template <typename Look>
  auto await(const Look& look) {
    auto found = look();
    for (int i = 0; i < 1'000 && !found; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      found = look();
    }
    return found;
  }

  test::TempDir folder_;
  zmq::context_t context_;
  const std::string file_ = (folder_.path() / "socket").string();
  const std::string url_ = "ipc://" + file_;
  std::atomic<int> sent_{0};
};

TEST_F(NetTest, PeerThatDoesNotReadIsDroppedAndNoOther) {
  limit_connections(1 << 20, {});
  const auto router = bind();
  zmq::socket_t deaf = connect(), hears = connect();
  deaf.send(zmq::str_buffer("deaf"));
  const std::string bad = await([&] { return router->receive(); })->peer;
  hears.send(zmq::str_buffer("hears"));
  const std::string good = await([&] { return router->receive(); })->peer;
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) router->send(bad, std::string(1 << 20, 'x'));
  router->send(good, "short");
  router->drop_who_does_not_read(begun);
  EXPECT_THAT(router->take_departed(), ::testing::IsEmpty()) << "it has had no time yet";
  router->drop_who_does_not_read(std::chrono::steady_clock::now() + std::chrono::hours(1));
  EXPECT_TRUE(await([&] {
    const std::vector<std::string> departed = router->take_departed();
    return departed == std::vector{bad};
  }));
  EXPECT_FALSE(router->gone(good));
}

TEST_F(NetTest, PeerThatLeavesIsToldOnceAndNoOther) {
  const auto router = bind();
  zmq::socket_t stays = connect();
  std::string gone;
  {
    zmq::socket_t leaves = connect();
    leaves.send(zmq::str_buffer("hello"));
    gone = await([&] { return router->receive(); })->peer;
  }
  stays.send(zmq::str_buffer("hello"));
  const std::string peer = await([&] { return router->receive(); })->peer;
  std::vector<std::string> departed;
  await([&] {
    for (std::string& one : router->take_departed()) departed.push_back(std::move(one));
    return !departed.empty();
  });
  EXPECT_THAT(departed, testing::ElementsAre(gone));
  EXPECT_NE(peer, gone);
  EXPECT_TRUE(router->take_departed().empty());
}

// A client is interrupted while the daemon stands still: its request lies there, its connection does not.
TEST_F(NetTest, PeerThatHasLeftBeforeItsMessageIsReadIsToldAfterIt) {
  const auto router = bind();
  zmq::socket_t stays = connect();
  stays.send(zmq::str_buffer("hello"));
  await([&] { return router->receive(); });
  for (const int messages : {1, 3}) {
    {
      zmq::socket_t leaves = connect();
      leaves.set(zmq::sockopt::linger, 1'000);
      for (int i = 0; i < messages; ++i) leaves.send(zmq::str_buffer("begin"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // the end is told on a thread of libzmq's
    for (int i = 0; i < messages; ++i) {
      const auto received = router->receive();
      ASSERT_TRUE(received.has_value());
      EXPECT_TRUE(router->gone(received->peer));
      EXPECT_THAT(router->take_departed(), testing::ElementsAre(received->peer)) << "message " << i;
    }
    EXPECT_TRUE(router->take_departed().empty());
  }
}

// Descriptors are used again at once: whoever comes next must not be taken for who left.
TEST_F(NetTest, PeersThatFollowEachOtherAreToldApart) {
  const auto router = bind();
  std::vector<std::string> came, left;
  for (int i = 0; i < 50; ++i) {
    zmq::socket_t socket = connect();
    socket.send(zmq::str_buffer("hello"));
    came.push_back(await([&] { return router->receive(); })->peer);
    for (std::string& one : router->take_departed()) left.push_back(std::move(one));
    EXPECT_THAT(left, testing::Not(testing::Contains(came.back())));
  }
  await([&] {
    for (std::string& one : router->take_departed()) left.push_back(std::move(one));
    return left.size() == came.size();
  });
  EXPECT_THAT(left, testing::UnorderedElementsAreArray(came));
}

TEST_F(NetTest, FramesThatAreNotReadAreCountedUntilTheyAre) {
  const auto router = bind();
  zmq::socket_t socket = connect();
  socket.send(zmq::str_buffer("hello"));
  const std::string peer = await([&] { return router->receive(); })->peer;
  const std::string frame(std::size_t{8} << 20, 'x');
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(router->send(peer, frame));
  EXPECT_GT(router->unsent(peer), 0U);
  EXPECT_EQ(router->unsent(peer), router->unsent());
  zmq::message_t message;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(socket.recv(message));
  EXPECT_EQ(message.size(), frame.size());
  EXPECT_TRUE(await([&] { return router->unsent() == 0; }));
  EXPECT_EQ(sent_, 4);
  EXPECT_TRUE(router->send(peer, "short"));
  EXPECT_EQ(router->unsent(), 0U) << "not worth counting";
}

TEST_F(NetTest, FramesOfAPeerThatLeavesAreNotKept) {
  const auto router = bind();
  {
    zmq::socket_t socket = connect();
    socket.send(zmq::str_buffer("hello"));
    const std::string peer = await([&] { return router->receive(); })->peer;
    for (int i = 0; i < 8; ++i) router->send(peer, std::string(std::size_t{8} << 20, 'x'));
  }
  EXPECT_TRUE(await([&] {
    router->receive();  // what libzmq has to say of the connection
    return router->unsent() == 0;
  }));
  EXPECT_FALSE(router->send("Dnobody", std::string(10'000, 'x')));
  EXPECT_EQ(router->unsent(), 0U);
}

// libzmq's own pings would abort the process, half a minute after such a connection was opened.
TEST_F(NetTest, OutlivesAConnectionThatBrokeWhileItsMessagesWaited) {
  const auto router = bind();
  {
    zmq::context_t its_own;
    zmq::socket_t flooder(its_own, zmq::socket_type::dealer);
    flooder.set(zmq::sockopt::linger, 0);
    flooder.set(zmq::sockopt::sndhwm, 1);
    flooder.set(zmq::sockopt::sndtimeo, 500);
    flooder.connect(url_);
    const std::string text(100'000, 'x');
    while (flooder.send(zmq::buffer(text), zmq::send_flags::none)) {
    }
  }
  std::this_thread::sleep_for(std::chrono::seconds(31));
  EXPECT_TRUE(router->receive());
}

TEST_F(NetTest, FileThatIsNoSocketIsNeverTouched) {
  std::ofstream(file_) << "a database";
  const auto router = Router::bind(context_, url_, {1 << 20, 16, 16}, nullptr);
  ASSERT_FALSE(router.ok());
  EXPECT_EQ(router.error().code, ErrorCode::kRefused);
  EXPECT_THAT(router.error().message, testing::HasSubstr(file_ + " is there already and is no socket"));
  std::string text;
  std::ifstream(file_) >> text;
  EXPECT_EQ(text, "a");
  std::filesystem::remove(file_);
  std::filesystem::create_directory(file_);
  EXPECT_EQ(Router::bind(context_, url_, {1 << 20, 16, 16}, nullptr).error().code, ErrorCode::kRefused);
}

TEST_F(NetTest, SocketThatSomebodyListensOnIsRefusedAndOneThatIsDesertedIsTaken) {
  {
    const auto router = bind();
    EXPECT_EQ(Router::bind(context_, url_, {1 << 20, 16, 16}, nullptr).error().code, ErrorCode::kRefused);
  }
  {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    file_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    ::unlink(file_.c_str());
    const process::Descriptor dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }
  EXPECT_EQ(process::probe_local_socket(file_).what, process::LocalSocket::kDeserted);
  bind();
}

// Its backlog is full: it listens all the same.
TEST_F(NetTest, BusyListenerIsNoDesertedSocket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  file_.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const process::Descriptor listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  std::vector<process::Descriptor> held;
  for (int i = 0; i < 4; ++i) {
    held.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (::connect(held.back().get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
      break;
  }
  EXPECT_EQ(process::probe_local_socket(file_).what, process::LocalSocket::kListening);
  EXPECT_EQ(Router::bind(context_, url_, {1 << 20, 16, 16}, nullptr).error().code, ErrorCode::kRefused);
}

// A handshake by hand, as ZMTP 3 has it: a peer may say of itself whatever it likes.
std::string ready_command(const std::vector<std::pair<std::string, std::string>>& properties) {
  std::string body = "\5READY";
  for (const auto& [name, value] : properties) {
    body += static_cast<char>(name.size());
    body.append(name).append(3, '\0');
    body += static_cast<char>(value.size());
    body += value;
  }
  return std::string("\4") + static_cast<char>(body.size()) + body;
}

std::string greeting() {
  std::string text = std::string("\xff") + std::string(8, '\0') + "\x7f" + std::string("\3\0", 2) + "NULL";
  text.resize(64, '\0');
  return text;
}

TEST_F(NetTest, LocalPeerIsWhoTheKernelSaysWhateverItClaims) {
  const auto router = bind();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  file_.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const process::Descriptor peer(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(peer.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  const std::string other = std::to_string(::geteuid() + 1);
  const std::string said =
      greeting() + ready_command({{"Socket-Type", "DEALER"},
                                  {"Identity", ""},
                                  {"User-Id", "somebody's key"},
                                  {"Peer-Address", "localhost:" + other + ":" + other + ":1"}});
  ASSERT_EQ(::write(peer.get(), said.data(), said.size()), static_cast<ssize_t>(said.size()));
  std::string heard(greeting().size() + 1, '\0');  // up to its own READY: it takes no message before
  ASSERT_EQ(::recv(peer.get(), heard.data(), heard.size(), MSG_WAITALL), static_cast<ssize_t>(heard.size()));
  ASSERT_EQ(::write(peer.get(), "\0\2hi", 4), 4);
  const auto received = await([&] { return router->receive(); });
  ASSERT_TRUE(received);
  EXPECT_EQ(received->frame, "hi");
  EXPECT_EQ(received->from.user, (LocalUser{::geteuid(), ::getegid()}));
  EXPECT_EQ(received->from.key, "");
}

// Else replies to the first would go to the second.
TEST_F(NetTest, NameOfAPeerIsItsOwnWhileItIsThere) {
  const auto router = bind();
  const auto named = [&] {
    zmq::socket_t socket(context_, zmq::socket_type::dealer);
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::routing_id, "name");
    socket.connect(url_);
    return socket;
  };
  zmq::socket_t first = named();
  first.send(zmq::str_buffer("hello"));
  const std::string peer = await([&] { return router->receive(); })->peer;
  zmq::socket_t second = named();
  second.send(zmq::str_buffer("hello"));
  zmq::socket_t third = connect();  // whose connection comes after the second's
  third.send(zmq::str_buffer("hello"));
  EXPECT_NE(await([&] { return router->receive(); })->peer, peer);
  EXPECT_TRUE(router->send(peer, "for the first"));
  zmq::message_t message;
  ASSERT_TRUE(first.recv(message));
  EXPECT_EQ(message.to_string_view(), "for the first");
  EXPECT_FALSE(second.recv(message, zmq::recv_flags::dontwait));
}

TEST_F(NetTest, TcpWithoutAKeyIsRefused) {
  const auto router = Router::bind(context_, "tcp://127.0.0.1:*", {1 << 24, 16, 64}, nullptr);
  ASSERT_FALSE(router);
  EXPECT_EQ(router.error().code, ErrorCode::kRefused);
}

}  // namespace
}  // namespace dslad::daemon
