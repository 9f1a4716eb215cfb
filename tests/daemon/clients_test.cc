// What clients are answered.
#include "daemon/ingress/clients.h"

#include <gmock/gmock.h>
#include <random>

#include "daemon/dispatch/worker_port.h"
#include "tests/daemon/dispatcher_fixture.h"

namespace dslad::daemon {
namespace {

using schema::JobState;

class ClientsTest : public test::DispatcherTest {
 protected:
  template <typename Request>
  void ask(const Request& request, std::uint64_t id = 7) {
    clients_.on_frame("client", schema::encode(request, id), from_);
  }

  static Identity user(std::uint32_t uid) { return {LocalUser{uid, uid}, ""}; }

  // The rest of the test asks as this user, in this role.
  void become(std::uint32_t uid, Role role) {
    from_ = user(uid);
    roles_[uid] = role;
  }

  // The only reply of this kind.
  template <typename Reply>
  Reply reply() {
    std::vector<Reply> replies = outbox_.take<Reply>("client");
    if (replies.size() != 1) throw std::runtime_error(std::string("no single reply of kind ") + Reply::kKind);
    return replies[0];
  }

  schema::JobId submit_one() {
    ask(schema::Submit{{test::summarize()}});
    return reply<schema::Submitted>().ids.at(0);
  }

  QueueLimits limits_;
  Principal who_is(const Identity& who) {
    if (!who.key.empty()) return {"key:" + who.key, Role::kSubmit};
    if (!who.user) return {};
    const auto found = roles_.find(who.user->uid);
    return {"uid:" + std::to_string(who.user->uid), found == roles_.end() ? Role::kNone : found->second};
  }

  Clients::Parts parts() {
    return {clock_,
            store_,
            store_,
            outbox_,
            dispatcher_,
            feed_,
            [] {
              return Clients::Counters{{"commits", 3}};
            },
            [this](const Identity& who) { return who_is(who); },
            {"ipc:///events", "tcp://events:1"}};
  }

  Identity from_ = user(1);
  std::map<std::uint32_t, Role> roles_{{1, Role::kAdmin}};
  Clients clients_{parts(), limits_};
};

TEST_F(ClientsTest, SubmittedJobIsListedAndGivenOut) {
  connect("w");
  const schema::JobId id = submit_one();
  EXPECT_EQ(assigned("w").size(), 1U);
  ask(schema::ListJobs{});
  EXPECT_EQ(reply<schema::JobList>().jobs.at(0).id, id);
}

TEST_F(ClientsTest, SubmitCountsTowardBackPressureByAllOfItsTexts) {
  const std::string text(1'000, 'x');
  ask(schema::Submit{{test::summarize(text)}});
  EXPECT_GE(store_.posted_bytes(), text.size());
  const std::size_t before = store_.posted_bytes();
  ask(schema::Submit{{test::qa({text, text}), test::qa({text})}});
  EXPECT_GE(store_.posted_bytes(), before + 3 * text.size());
}

TEST_F(ClientsTest, SubmitIsNotAcknowledgedWhenItsCommitFails) {
  store_.fail_next({ErrorCode::kUnavailable, "disk full"});
  ask(schema::Submit{{test::summarize()}});
  EXPECT_TRUE(outbox_.take<schema::Submitted>("client").empty());
  EXPECT_EQ(reply<schema::ErrorReply>().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(events_.of(schema::kTopicJobState).empty());
}

TEST_F(ClientsTest, WaitIsAnsweredWhenTheLastJobEnds) {
  connect("w", 2);
  const schema::JobId first = submit_one();
  const schema::JobId second = submit_one();
  ask(schema::Wait{{second, first}, 60'000});
  dispatcher_.on_result("w", test::success({first, 1}));
  clients_.tick();
  EXPECT_TRUE(outbox_.take<schema::WaitReply>("client").empty());
  dispatcher_.on_result("w", test::success({second, 1}));
  clients_.tick();
  const schema::WaitReply waited = reply<schema::WaitReply>();
  EXPECT_TRUE(waited.done);
  EXPECT_EQ(waited.jobs.at(0).id, second);
  EXPECT_EQ(waited.jobs.at(1).state, JobState::kSucceeded);
}

using Hold = test::InlineExecutor::Hold;

TEST_F(ClientsTest, ClientThatLeavesWhileItsJobsAreLookedUpWaitsForNothing) {
  const schema::JobId id = submit_one();
  store_.hold(Hold::kFinish);
  ask(schema::Wait{{id}, 60'000});
  outbox_.lose("client");
  clients_.on_departed("client");
  store_.let_go();
  EXPECT_EQ(clients_.counters()["waits_open"], 0U);
}

TEST_F(ClientsTest, EndThatIsCommittedBehindTheFirstLookIsStillTold) {
  connect("w");
  const schema::JobId id = submit_one();
  store_.hold(Hold::kFinish);
  ask(schema::Wait{{id}, 60'000});  // it is looked up while it runs, and ends before that is known
  dispatcher_.on_result("w", test::success({id, 1}));
  store_.let_go();
  clients_.tick();
  EXPECT_TRUE(reply<schema::WaitReply>().done);
}

TEST_F(ClientsTest, SubmitIsAcknowledgedAfterItsCommitAlone) {
  store_.hold(Hold::kAll);
  ask(schema::Submit{{test::summarize()}});
  EXPECT_TRUE(outbox_.take<schema::Submitted>("client").empty());
  store_.let_go();
  EXPECT_EQ(reply<schema::Submitted>().ids.size(), 1U);
}

TEST_F(ClientsTest, RepliesOfAnyLengthComeTwoAtATime) {
  const schema::JobId id = submit_one();
  store_.hold(Hold::kFinish);
  for (std::uint64_t i = 1; i <= 5; ++i) ask(schema::GetResult{id}, i);
  EXPECT_EQ(clients_.counters()["requests_waiting"], 3U);
  store_.let_go();
  EXPECT_EQ(outbox_.take<schema::JobResult>("client").size(), 5U);
  outbox_.leave_unread("client", std::size_t{16} << 20);
  ask(schema::GetResult{id});
  EXPECT_TRUE(outbox_.take<schema::JobResult>("client").empty());
  ask(schema::Submit{{test::summarize()}});
  EXPECT_EQ(reply<schema::ErrorReply>().code, ErrorCode::kResourceExhausted);
  outbox_.leave_unread("client", 0);
  clients_.on_sent();
  EXPECT_EQ(outbox_.take<schema::JobResult>("client").size(), 1U);
}

TEST_F(ClientsTest, WhatOthersDoNotReadHoldsUpNobodysSubmitsAndShortReplies) {
  connect("w");
  const schema::JobId id = submit_one();
  schema::WorkerResult result = test::success({id, 1});
  result.outputs.at(0).text = std::string(100'000, 'x');
  dispatcher_.on_result("w", result);
  outbox_.leave_unread("others", std::size_t{256} << 20);
  ask(schema::GetResult{id});
  EXPECT_TRUE(outbox_.take<schema::JobResult>("client").empty());
  ask(schema::GetJob{submit_one()});
  EXPECT_EQ(outbox_.take<schema::JobInfo>("client").size(), 1U);
  outbox_.leave_unread("others", 0);
  clients_.on_sent();
  EXPECT_EQ(reply<schema::JobResult>().outputs.at(0).text.size(), 100'000U);
  EXPECT_EQ(clients_.counters()["requests_waiting"], 0U);

  outbox_.leave_unread("others", std::size_t{256} << 20);
  ask(schema::GetResult{id});
  roles_[1] = Role::kNone;
  outbox_.leave_unread("others", 0);
  clients_.on_sent();
  EXPECT_EQ(reply<schema::ErrorReply>().code, ErrorCode::kRefused) << "rights may go while it waits";
}

// Else who is refused and tries again falls ever further behind.
TEST_F(ClientsTest, SubmitThatIsRefusedCostsItsClientNoTurn) {
  limits_.max_queued = 0;
  Clients full(parts(), limits_);
  for (int i = 0; i < 100; ++i)
    full.on_frame("client", schema::encode(schema::Submit{{test::summarize()}, "ada"}, 1), from_);
  EXPECT_EQ(outbox_.take<schema::ErrorReply>("client").size(), 100U);
  const std::string ada = turn_key("uid:1", "ada");
  EXPECT_EQ(dispatcher_.take_turn(ada, test::summarize()).delay_ms, 0);
  EXPECT_GT(dispatcher_.take_turn(ada, test::summarize()).delay_ms, 0);
}

TEST_F(ClientsTest, WaitEndsWithItsTimeout) {
  const schema::JobId id = submit_one();
  ask(schema::Wait{{id}, 1'000});
  clock_.pass(999);
  clients_.tick();
  EXPECT_TRUE(outbox_.take<schema::WaitReply>("client").empty());
  clock_.pass(1);
  clients_.tick();
  EXPECT_FALSE(reply<schema::WaitReply>().done);
  clients_.tick();
  EXPECT_TRUE(outbox_.take<schema::WaitReply>("client").empty());  // once
}

TEST_F(ClientsTest, JobThatManyWaitForAnswersThoseWhoStillDo) {
  connect("w");
  const schema::JobId id = submit_one();
  ask(schema::Wait{{id}, 1'000}, 1);
  ask(schema::Wait{{id}, 60'000}, 2);
  ask(schema::Wait{{id}, 60'000}, 3);
  clock_.pass(1'000);
  clients_.tick();
  EXPECT_FALSE(reply<schema::WaitReply>().done);
  dispatcher_.on_result("w", test::success({id, 1}));
  clients_.tick();
  const auto answers = outbox_.take<schema::WaitReply>("client");
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_TRUE(answers[0].done && answers[1].done);
}

// By the jobs that are waited for, far below the bound for waits of a job each.
TEST_F(ClientsTest, WaitsHaveABoundInAll) {
  Clients::Parts few = parts();
  few.waits = {.waits = 1'000, .jobs = 10};
  Clients clients(few, limits_);
  ask(schema::Submit{std::vector<schema::JobRequest>(4, test::summarize())});
  const std::string wait = schema::encode(schema::Wait{reply<schema::Submitted>().ids, 1'000}, 7);
  for (int i = 0; i < 2; ++i) clients.on_frame("client", wait, from_);
  EXPECT_TRUE(outbox_.take<schema::ErrorReply>("client").empty());
  clients.on_frame("client", wait, from_);
  EXPECT_EQ(reply<schema::ErrorReply>().code, ErrorCode::kResourceExhausted);
  clock_.pass(1'000);
  clients.tick();
  EXPECT_EQ(outbox_.take<schema::WaitReply>("client").size(), 2U);
  clients.on_frame("client", wait, from_);  // there is room again
  EXPECT_TRUE(outbox_.take<schema::ErrorReply>("client").empty());
}

TEST_F(ClientsTest, WaitForEndedJobsIsAnsweredAtOnce) {
  const schema::JobId id = submit_one();
  ask(schema::Cancel{{id}});
  EXPECT_THAT(reply<schema::CancelReply>().cancelled, testing::ElementsAre(id));
  ask(schema::Wait{{id}, 60'000});
  EXPECT_TRUE(reply<schema::WaitReply>().done);
}

TEST_F(ClientsTest, WaitForTheSameJobTwiceInOneRequestEnds) {
  connect("w");
  const schema::JobId id = submit_one();
  ask(schema::Wait{{id, id}, 60'000});
  dispatcher_.on_result("w", test::success({id, 1}));
  clients_.tick();
  EXPECT_EQ(reply<schema::WaitReply>().jobs.size(), 2U);
}

TEST_F(ClientsTest, UnknownJobIsNotFound) {
  ask(schema::GetResult{99});
  EXPECT_EQ(reply<schema::ErrorReply>().code, ErrorCode::kNotFound);
  ask(schema::Wait{{99}, 10});
  EXPECT_EQ(reply<schema::ErrorReply>().code, ErrorCode::kNotFound);
}

TEST_F(ClientsTest, RunningJobShowsItsProgress) {
  connect("w");
  const schema::JobId id = submit_one();
  schema::Heartbeat heartbeat;
  heartbeat.leases = {{{id, 1}, {schema::Phase::kDecode, 100, 100, 5}}};
  dispatcher_.on_heartbeat("w", heartbeat);
  ask(schema::GetJob{id});
  const schema::JobInfo job = reply<schema::JobInfo>();
  EXPECT_EQ(job.progress.phase, schema::Phase::kDecode);
  EXPECT_EQ(job.progress.tokens_out, 5U);
  EXPECT_EQ(job.worker, "w");
}

TEST_F(ClientsTest, StatusCountsJobsAndNamesWorkers) {
  connect("w");
  submit_one();
  submit_one();
  ask(schema::GetStatus{});
  const schema::DaemonStatus status = reply<schema::DaemonStatus>();
  EXPECT_EQ(status.jobs.at("running"), 1U);
  EXPECT_EQ(status.jobs.at("queued"), 1U);
  EXPECT_EQ(status.jobs.at("failed"), 0U);
  EXPECT_EQ(status.workers.at(0).name, "w");
  EXPECT_EQ(status.events_url, "ipc:///events");
}

TEST_F(ClientsTest, WatchersAreSentToAUrlLikeTheirOwn) {
  from_ = {std::nullopt, "a key"};
  ask(schema::GetStatus{});
  EXPECT_EQ(reply<schema::DaemonStatus>().events_url, "tcp://events:1");
}

TEST_F(ClientsTest, StatsHoldOwnCountersAndThoseOfOthers) {
  submit_one();
  ask(schema::GetStats{});
  const schema::StatsReply stats = reply<schema::StatsReply>();
  EXPECT_EQ(stats.counters.at("jobs_submitted"), 1U);
  EXPECT_EQ(stats.counters.at("commits"), 3U);
}

TEST_F(ClientsTest, DrainingRefusesSubmitsAndEndsWaits) {
  const schema::JobId id = submit_one();
  ask(schema::Wait{{id}, 60'000});
  clients_.drain();
  EXPECT_EQ(reply<schema::ErrorReply>().code, ErrorCode::kUnavailable);
  ask(schema::Submit{{test::summarize()}});
  EXPECT_EQ(reply<schema::ErrorReply>().code, ErrorCode::kUnavailable);
  EXPECT_EQ(test::must(count_jobs(db_))["queued"], 1U);
}

TEST_F(ClientsTest, BadRequestsGetAnErrorWithTheirId) {
  ask(schema::Submit{}, 41);
  const schema::ErrorReply empty = reply<schema::ErrorReply>();
  EXPECT_EQ(empty.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(empty.message, testing::HasSubstr("jobs is empty"));
  clients_.on_frame("client", "garbage", from_);
  EXPECT_EQ(reply<schema::ErrorReply>().code, ErrorCode::kInvalidArgument);
  ask(schema::Pong{"not a request"});
  EXPECT_THAT(reply<schema::ErrorReply>().message, testing::HasSubstr("'pong'"));
}

TEST_F(ClientsTest, MutatedFramesFromBothSidesNeverHarm) {
  WorkerPort port(clock_, outbox_, dispatcher_, [](const Identity&) { return true; });
  connect("w", 4);
  schema::Hello greeting = hello("w", "w", 4);
  greeting.leases = {{1, 1}};
  const std::vector<std::string> frames = {schema::encode(schema::Submit{{test::summarize()}}),
                                           schema::encode(schema::Wait{{1}, 5}), schema::encode(greeting),
                                           schema::encode(test::success({1, 1})),
                                           schema::encode(schema::Heartbeat{{{{1, 1}, {}}}, {}})};
  std::mt19937 random(7);
  for (std::size_t round = 0; round < 2'000; ++round) {
    std::string frame = frames[round % frames.size()];
    for (int edits = 0; edits < 3; ++edits) frame[random() % frame.size()] = static_cast<char>(random());
    clients_.on_frame("client", frame, from_);
    port.on_frame("w", frame, user(1));
  }
  outbox_.take<schema::ErrorReply>("client");
  ask(schema::Ping{});
  EXPECT_EQ(outbox_.take<schema::Pong>("client").size(), 1U);
  EXPECT_GT(port.malformed(), 100U);
}

TEST_F(ClientsTest, JobsOfOthersDoNotExist) {
  become(5, Role::kSubmit);
  const schema::JobId theirs = submit_one();
  become(6, Role::kSubmit);
  ask(schema::GetJob{theirs});
  const schema::ErrorReply error = reply<schema::ErrorReply>();
  ask(schema::GetJob{theirs + 100});
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_EQ(error.message, "there is no job " + std::to_string(theirs));
  EXPECT_EQ(reply<schema::ErrorReply>().code, error.code);
  ask(schema::Cancel{{theirs}});
  EXPECT_THAT(reply<schema::CancelReply>().not_found, testing::ElementsAre(theirs));
  become(7, Role::kRead);
  ask(schema::GetJob{theirs});
  EXPECT_EQ(reply<schema::JobInfo>().owner, "uid:5");
  ask(schema::Cancel{{theirs}});
  EXPECT_THAT(reply<schema::ErrorReply>().message, testing::HasSubstr("whose role is read"));
}

// Its connection stays open, and what it asked before must not be told any more.
TEST_F(ClientsTest, WaitThatOutlivesItsRightsTellsNothing) {
  become(5, Role::kSubmit);
  const schema::JobId id = submit_one();
  ask(schema::Wait{{id}, 60'000});
  become(1, Role::kAdmin);
  roles_[5] = Role::kNone;
  ask(schema::Cancel{{id}});
  clients_.tick();
  EXPECT_TRUE(outbox_.take<schema::WaitReply>("client").empty());
  EXPECT_EQ(reply<schema::ErrorReply>().code, ErrorCode::kRefused);
}

TEST_F(ClientsTest, NobodyTakesATurnInAnothersName) {
  become(5, Role::kSubmit);
  for (int i = 0; i < 10; ++i) ask(schema::Submit{{test::summarize()}, "ada"});
  EXPECT_GT(dispatcher_.take_turn(turn_key("uid:5", "ada"), test::summarize()).delay_ms, 0);
  EXPECT_EQ(dispatcher_.take_turn(turn_key("uid:6", "ada"), test::summarize()).delay_ms, 0);
}

}  // namespace
}  // namespace dslad::daemon
