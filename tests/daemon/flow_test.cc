// What clients may take of the daemon's memory, and how they share the queue.
#include "daemon/ingress/flow.h"

#include <gmock/gmock.h>

#include "daemon/dispatch/turns.h"
#include "daemon/ingress/waits.h"
#include "tests/daemon/fake.h"

namespace dslad::daemon {
namespace {

using schema::JobId;

class FlowTest : public ::testing::Test {
 protected:
  // A request of the peer; it is noted when it starts.
  bool enter(const std::string& peer, int number) {
    return flow_.enter(peer, [this, number] { started_.push_back(number); });
  }
  // It is asked anew as the same number.
  bool put_back(const std::string& peer, std::size_t reply_bytes, int number) {
    return flow_.put_back(peer, reply_bytes, [this, number] { started_.push_back(number); });
  }
  std::vector<int> started() { return std::exchange(started_, {}); }

  test::FakeOutbox outbox_;
  Flow flow_{outbox_, {2, 100, 1'000, 10, 4, 6}};
  std::vector<int> started_;
};

TEST_F(FlowTest, AFewOfAClientAreUnderWayAndTheOthersFollowInOrder) {
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(enter("a", i));
  EXPECT_TRUE(enter("b", 10));
  EXPECT_THAT(started(), testing::ElementsAre(0, 1, 10)) << "nobody waits for another client's";
  flow_.leave("a");
  EXPECT_THAT(started(), testing::ElementsAre(2));
  flow_.leave("a");
  flow_.leave("a");
  flow_.leave("a");
  EXPECT_THAT(started(), testing::ElementsAre(3));
  EXPECT_EQ(flow_.waiting(), 0U);
}

TEST_F(FlowTest, AllTogetherAreNoMoreThanGoAtOnceAndClientsTakeTurns) {
  Flow flow(outbox_, {.at_once = 2, .waiting = 10, .waiting_all = 100, .at_once_all = 3});
  const auto enters = [&](const std::string& peer, int number) {
    return flow.enter(peer, [this, number] { started_.push_back(number); });
  };
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(enters("a", i));
  for (int i = 10; i < 13; ++i) EXPECT_TRUE(enters("b", i));
  for (int i = 20; i < 23; ++i) EXPECT_TRUE(enters("c", i));
  EXPECT_THAT(started(), testing::ElementsAre(0, 1, 10));
  flow.leave("a");
  EXPECT_THAT(started(), testing::ElementsAre(11)) << "b was stopped first";
  flow.leave("a");
  EXPECT_THAT(started(), testing::ElementsAre(20)) << "a has had its turn";
  flow.leave("b");
  EXPECT_THAT(started(), testing::ElementsAre(2));
  flow.leave("b");
  flow.leave("c");
  flow.leave("a");
  EXPECT_THAT(started(), testing::UnorderedElementsAre(12, 21, 3)) << "each one";
}

// A client that asks and goes would have ever more under way.
TEST_F(FlowTest, WhatAClientThatLeftHasUnderWayCountsUntilItIsAnswered) {
  Flow flow(outbox_, {.at_once_all = 2});
  const auto enters = [&](const std::string& peer, int number) {
    return flow.enter(peer, [this, number] { started_.push_back(number); });
  };
  enters("a", 0);
  enters("a", 1);
  flow.forget("a");
  enters("b", 2);
  EXPECT_THAT(started(), testing::ElementsAre(0, 1));
  flow.leave("a");
  EXPECT_THAT(started(), testing::ElementsAre(2));
  flow.leave("a");
  flow.leave("b");
  enters("c", 3);
  enters("c", 4);
  EXPECT_THAT(started(), testing::ElementsAre(3, 4));
}

TEST_F(FlowTest, ClientThatDoesNotReadGetsNoMoreUntilItDoes) {
  outbox_.leave_unread("a", 100);
  EXPECT_TRUE(enter("a", 0));
  EXPECT_TRUE(enter("b", 1));
  EXPECT_THAT(started(), testing::ElementsAre(1));
  flow_.resume();
  EXPECT_TRUE(started().empty());
  outbox_.leave_unread("a", 99);
  flow_.resume();
  EXPECT_THAT(started(), testing::ElementsAre(0));
}

TEST_F(FlowTest, WhatOthersDoNotReadHoldsUpLongRepliesAlone) {
  outbox_.leave_unread("somebody", 999);
  EXPECT_TRUE(enter("a", 0));
  EXPECT_FALSE(put_back("a", 11, 0)) << "there is room";
  outbox_.leave_unread("somebody", 1'000);
  EXPECT_FALSE(put_back("a", 10, 0)) << "it is short";
  EXPECT_FALSE(flow_.is_behind("a"));
  EXPECT_TRUE(put_back("a", 11, 0));
  EXPECT_TRUE(enter("b", 1));
  flow_.resume();
  EXPECT_THAT(started(), testing::ElementsAre(0, 1)) << "nobody knows yet that b's is long";
  outbox_.leave_unread("somebody", 0);
  flow_.resume();
  EXPECT_THAT(started(), testing::ElementsAre(0));
}

TEST_F(FlowTest, OthersGoPastWhatWasPutBackUntilItIsAsManyAsGoAtOnce) {
  outbox_.leave_unread("somebody", 1'000);
  for (int i = 0; i < 4; ++i) enter("a", i);
  EXPECT_THAT(started(), testing::ElementsAre(0, 1));
  EXPECT_TRUE(put_back("a", 50, 0));
  EXPECT_THAT(started(), testing::ElementsAre(2));
  EXPECT_TRUE(put_back("a", 50, 1));
  EXPECT_TRUE(put_back("a", 50, 2));
  EXPECT_TRUE(started().empty());
  EXPECT_EQ(flow_.waiting(), 4U);
  outbox_.leave_unread("somebody", 0);
  flow_.resume();
  EXPECT_THAT(started(), testing::ElementsAre(0, 1));
  flow_.leave("a");
  flow_.leave("a");
  EXPECT_THAT(started(), testing::ElementsAre(2, 3));
}

TEST_F(FlowTest, NoMoreLongRepliesAreAskedForAtOnceThanThereIsRoomFor) {
  outbox_.leave_unread("somebody", 1'000);
  for (const char* peer : {"a", "b", "c"}) {
    enter(peer, 0);
    EXPECT_TRUE(put_back(peer, 300, 0));
  }
  started();
  outbox_.leave_unread("somebody", 500);
  flow_.resume();
  EXPECT_EQ(started().size(), 2U);
  flow_.leave("a");  // whichever began
  flow_.leave("b");
  flow_.leave("c");
  flow_.resume();
  EXPECT_EQ(started().size(), 1U);
}

TEST_F(FlowTest, ClientThatLeftOrWasToldToEndIsNotPutBack) {
  outbox_.leave_unread("somebody", 1'000);
  enter("a", 0);
  flow_.forget("a");
  EXPECT_FALSE(put_back("a", 11, 0));
  enter("b", 1);
  flow_.start_all();
  EXPECT_FALSE(put_back("b", 11, 1));
  EXPECT_EQ(flow_.waiting(), 0U);
}

TEST_F(FlowTest, WhatWaitsIsBoundedForEachAndForAll) {
  for (const char* peer : {"a", "b", "c"}) outbox_.leave_unread(peer, 100);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(enter("a", i));
  EXPECT_FALSE(enter("a", 4));
  EXPECT_TRUE(enter("b", 5));
  EXPECT_TRUE(enter("b", 6));
  EXPECT_FALSE(enter("c", 7));
  flow_.forget("a");
  EXPECT_EQ(flow_.waiting(), 2U);
  EXPECT_TRUE(enter("c", 8));
}

TEST_F(FlowTest, AllAreStartedWhenTheDaemonStops) {
  for (int i = 0; i < 4; ++i) enter("a", i);
  outbox_.leave_unread("b", 1'000);
  enter("b", 10);
  started();
  flow_.start_all();
  EXPECT_THAT(started(), testing::UnorderedElementsAre(2, 3, 10));
  EXPECT_EQ(flow_.waiting(), 0U);
  flow_.leave("a");  // what was under way ends as ever
}

TEST_F(FlowTest, AnswerToAClientThatLeftIsNoConcern) {
  enter("a", 0);
  flow_.forget("a");
  flow_.leave("a");
  enter("a", 1);  // another one of the same name
  EXPECT_THAT(started(), testing::ElementsAre(0, 1));
}

WaitingClient waiting(const std::string& peer, std::uint64_t request, std::int64_t deadline_ms = 1'000) {
  return {{peer, request}, {1}, deadline_ms};
}

TEST(WaitsTest, WaitEndsWithItsClient) {
  Waits waits;
  EXPECT_TRUE(waits.add(waiting("a", 1), {1, 2}).taken);
  EXPECT_TRUE(waits.add(waiting("b", 1), {1}).taken);
  waits.forget("a");
  waits.forget("nobody");
  EXPECT_EQ(waits.size(), 1U);
  schema::Event event;
  event.job = 1;
  event.state = schema::JobState::kSucceeded;
  waits.on_event(event);
  const std::vector<WaitingClient> ready = waits.take_ready(0);
  ASSERT_EQ(ready.size(), 1U);
  EXPECT_EQ(ready[0].asker.peer, "b");
}

TEST(WaitsTest, ClientThatLeavesBetweenAnEndAndItsAnswerIsForgotten) {
  Waits waits;
  waits.add(waiting("a", 1), {1});
  schema::Event event;
  event.job = 1;
  event.state = schema::JobState::kFailed;
  waits.on_event(event);
  waits.forget("a");
  EXPECT_TRUE(waits.take_ready(10'000).empty());
}

TEST(WaitsTest, ClientWithManyMakesRoomForOneWithFew) {
  Waits waits({4, 100});
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_TRUE(waits.add(waiting("greedy", i), {1}).taken);
  EXPECT_FALSE(waits.add(waiting("greedy", 4), {1}).taken);
  const Waits::Added added = waits.add(waiting("modest", 0), {1});
  EXPECT_TRUE(added.taken);
  ASSERT_EQ(added.displaced.size(), 1U);
  EXPECT_EQ(added.displaced[0].asker.request_id, 3U) << "its latest";
  EXPECT_EQ(waits.size(), 4U);
  EXPECT_TRUE(waits.add(waiting("modest", 1), {1}).taken);
  EXPECT_FALSE(waits.add(waiting("modest", 2), {1}).taken) << "now they are even";
}

TEST(TurnsTest, OneJobIsNotBehindTenThousandOfAnotherClient) {
  Turns turns;
  std::int64_t last = 0;
  for (int i = 0; i < 10'000; ++i) last = turns.next("greedy", 100, 5'000);
  EXPECT_EQ(last, 5'000 + 9'999 * 100);
  EXPECT_EQ(turns.next("modest", 100, 5'000), 5'000);
  turns.served(400'000);  // much of the greedy one's is done
  EXPECT_EQ(turns.next("other", 100, 6'000), 400'000) << "nobody is ahead of what has begun";
  EXPECT_EQ(turns.next("greedy", 100, 6'000), 5'000 + 10'000 * 100) << "nor is a client ahead of itself";
}

TEST(TurnsTest, ClientThatWasServedOwesNothing) {
  Turns turns;
  for (int i = 0; i < 10; ++i) turns.next("a", 1'000, 0);
  turns.served(9'000);
  EXPECT_EQ(turns.next("a", 1'000, 20'000), 20'000);
  EXPECT_EQ(turns.next("b", 1'000, 20'000), 20'000);
}

TEST(TurnsTest, WorkThatIsNotTakenCostsNoTurn) {
  Turns turns;
  turns.next("a", 100, 10);
  for (int i = 0; i < 1'000; ++i) {
    turns.next("a", 50, 10);
    turns.give_back("a", 50);
  }
  turns.give_back("nobody", 50);
  EXPECT_EQ(turns.next("a", 1, 10), 110);
}

TEST(TurnsTest, WorkThatIsNoNumberCountsAsNone) {
  Turns turns;
  turns.next("a", std::numeric_limits<double>::quiet_NaN(), 10);
  turns.next("a", std::numeric_limits<double>::infinity(), 10);
  turns.next("a", -5, 10);
  EXPECT_EQ(turns.next("a", 1, 10), 10);
}

TEST(TurnsTest, RestoredTurnsMoveWithTheClock) {
  Turns turns;
  turns.restore({{"a", 50'000}});
  turns.shift(1'000'000);
  EXPECT_EQ(turns.next("a", 1, 1'001'000), 1'050'000);
}

}  // namespace
}  // namespace dslad::daemon
