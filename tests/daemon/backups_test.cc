// Backups and checks as clients meet them: through their requests.
#include "daemon/ingress/backups.h"

#include <fstream>
#include <gmock/gmock.h>
#include <thread>

#include "base/digest.h"
#include "daemon/ingress/clients.h"
#include "tests/daemon/dispatcher_fixture.h"

namespace dslad::daemon {
namespace {

class BackupsTest : public test::DispatcherTest {
 protected:
  template <typename Reply, typename Request>
  Reply ask(const Request& request, const std::string& peer = "client") {
    clients_.on_frame(peer, schema::encode(request, 7), from_);
    std::vector<Reply> replies = outbox_.take<Reply>(peer);
    if (replies.size() != 1) throw std::runtime_error(std::string("no single reply of kind ") + Reply::kKind);
    return replies[0];
  }

  void wait_for(LongErrand& errand) {
    while (errand.running()) {
      std::this_thread::yield();
      backups_.tick();
      checks_.tick();
    }
  }

  schema::BackupReply make_backup() {
    const auto begun = ask<schema::BackupReply>(schema::BeginBackup{});
    wait_for(copying_);
    return ask<schema::BackupReply>(schema::ShowBackup{begun.backup});
  }

  const Identity from_{LocalUser{1, 1}, ""};
  const std::filesystem::path file_ = folder_.path() / "dslad.db";
  const std::filesystem::path copy_ = folder_.path() / "backup.db";
  LongErrand copying_{file_, [] {}};
  LongErrand checking_{file_, [] {}};
  Backups backups_{clock_, file_, copy_, copying_};
  Checks checks_{clock_, checking_};
  Clients clients_{{clock_,
                    store_,
                    store_,
                    outbox_,
                    dispatcher_,
                    feed_,
                    [] { return Clients::Counters(); },
                    [](const Identity&) {
                      return Principal{"uid:1", Role::kAdmin};
                    },
                    {"ipc:///events"},
                    &backups_,
                    &checks_},
                   {}};
};

TEST_F(BackupsTest, BackupIsReadInPiecesAndRemovedAtItsEnd) {
  submit(test::summarize(std::string(std::size_t{6} << 20, 'x')));
  const schema::BackupReply backup = make_backup();
  ASSERT_TRUE(backup.ready);
  std::string read;
  while (read.size() < backup.bytes) {
    const auto piece = ask<schema::BackupPiece>(schema::ReadBackup{backup.backup, read.size()});
    EXPECT_EQ(piece.from, read.size());
    EXPECT_LE(piece.data.data.size(), schema::kPageBytes);
    read += piece.data.data;
  }
  EXPECT_EQ(hash_of(read).hex(), backup.digest);
  EXPECT_EQ(ask<schema::ErrorReply>(schema::ReadBackup{backup.backup, backup.bytes}).code,
            ErrorCode::kInvalidArgument);
  ask<schema::BackupReply>(schema::EndBackup{backup.backup});
  EXPECT_FALSE(std::filesystem::exists(copy_));
  EXPECT_EQ(ask<schema::ErrorReply>(schema::ReadBackup{backup.backup, 0}).code, ErrorCode::kNotFound);
}

TEST_F(BackupsTest, PiecesAreWeighedAsResultsAre) {
  const schema::BackupReply backup = make_backup();
  outbox_.leave_unread("client", std::size_t{16} << 20);
  clients_.on_frame("client", schema::encode(schema::ReadBackup{backup.backup, 0}, 7), from_);
  EXPECT_TRUE(outbox_.take<schema::BackupPiece>("client").empty());
  outbox_.leave_unread("client", 0);
  clients_.on_sent();
  EXPECT_EQ(outbox_.take<schema::BackupPiece>("client").size(), 1U);
}

TEST_F(BackupsTest, ThereIsOneAtATime) {
  const schema::BackupReply backup = make_backup();
  EXPECT_EQ(ask<schema::ErrorReply>(schema::BeginBackup{}, "other").code, ErrorCode::kResourceExhausted);
  ask<schema::BackupReply>(schema::EndBackup{backup.backup});
  EXPECT_GT(ask<schema::BackupReply>(schema::BeginBackup{}, "other").backup, backup.backup);
}

TEST_F(BackupsTest, BackupGoesWithItsClient) {
  make_backup();
  clients_.on_departed("other");
  EXPECT_TRUE(std::filesystem::exists(copy_));
  clients_.on_departed("client");
  EXPECT_FALSE(std::filesystem::exists(copy_));
  ask<schema::BackupReply>(schema::BeginBackup{});
  clients_.on_departed("client");  // while it is made
  wait_for(copying_);
  EXPECT_FALSE(std::filesystem::exists(copy_));
}

TEST_F(BackupsTest, BackupThatNobodyAsksForIsRemoved) {
  const schema::BackupReply backup = make_backup();
  clock_.pass(9 * 60'000);
  ask<schema::BackupReply>(schema::ShowBackup{backup.backup});
  clock_.pass(9 * 60'000);
  backups_.tick();
  EXPECT_TRUE(std::filesystem::exists(copy_));
  clock_.pass(60'000);
  backups_.tick();
  EXPECT_FALSE(std::filesystem::exists(copy_));
}

TEST_F(BackupsTest, WhatAKilledDaemonLeftIsRemoved) {
  std::ofstream(copy_) << "half a copy";
  std::ofstream(copy_.string() + "-journal") << "of it";
  const Backups anew(clock_, file_, copy_, copying_);
  EXPECT_FALSE(std::filesystem::exists(copy_));
  EXPECT_FALSE(std::filesystem::exists(copy_.string() + "-journal"));
}

TEST_F(BackupsTest, BackupThatCannotBeMadeSaysWhyAndMakesRoomForTheNext) {
  std::filesystem::create_directory(copy_);  // in the way
  std::ofstream(copy_ / "not empty") << "x";
  const auto begun = ask<schema::BackupReply>(schema::BeginBackup{});
  wait_for(copying_);
  const auto error = ask<schema::ErrorReply>(schema::ShowBackup{begun.backup});
  EXPECT_EQ(error.code, ErrorCode::kUnavailable);
  EXPECT_THAT(error.message, testing::HasSubstr("backup.db"));
  std::filesystem::remove_all(copy_);
  EXPECT_TRUE(make_backup().ready);
}

TEST_F(BackupsTest, CheckTellsWhatItFoundUntilItsClientDeparts) {
  submit();
  auto reply = ask<schema::IntegrityReply>(schema::BeginIntegrity{});
  wait_for(checking_);
  reply = ask<schema::IntegrityReply>(schema::ShowIntegrity{reply.check});
  EXPECT_TRUE(reply.done);
  EXPECT_THAT(reply.findings, testing::IsEmpty());
  test::must(
      db_.exec("DELETE FROM job_inputs; INSERT INTO settings VALUES ('queue_mode', 'upside down'), "
               "('min_quality', 'high')"));
  reply = ask<schema::IntegrityReply>(schema::BeginIntegrity{true});
  wait_for(checking_);
  reply = ask<schema::IntegrityReply>(schema::ShowIntegrity{reply.check});
  EXPECT_THAT(reply.findings, testing::ElementsAre(testing::HasSubstr("its texts are not there"),
                                                   testing::HasSubstr("min_quality is 'high'"),
                                                   testing::HasSubstr("the queue's mode is 'upside down'")));
  clients_.on_departed("client");
  EXPECT_EQ(ask<schema::ErrorReply>(schema::ShowIntegrity{reply.check}).code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace dslad::daemon
