#include "worker/idle/stage.h"

#include <gtest/gtest.h>

#include "tests/worker/chained_model.h"
#include "worker/idle/recent_documents.h"

namespace dslad::worker {
namespace {

using testing::ChainedModel;

// Two layers are served; the stage has a third, which was measured.
class StageTest : public ::testing::Test {
 protected:
  StageTest() {
    model_.manifest.plans = {{1, 0.1, 1.0, 0.99, {{"exam", 1}}}};
    model_.save();
    EXPECT_TRUE(stage_.take());
    EXPECT_TRUE(stage_.begin({2, "recipe", ""}));
    ChainManifest staged = ahead_.manifest;
    staged.plans = {{1, 0.2, 1.0, 0.5, nlohmann::json::object()}, {3, 0.1, 1.0, 0.97, {{"exam", 1}}}};
    std::filesystem::copy(ahead_.chain(), stage_.chain());
    EXPECT_TRUE(save_chain_manifest(stage_.chain(), staged));
  }
  ChainManifest served() const { return *load_chain_manifest(model_.chain()); }
  IdleFacts look() const {
    IdleFacts facts;
    const Status looked = stage_.look(facts);
    EXPECT_TRUE(looked) << looked.error().message;
    return facts;
  }

  ChainedModel model_{"stories260K", {2, 0, 4, 1, 3}, 2}, ahead_{"stories260K", {2, 0, 4, 1, 3}, 3};
  Stage stage_{model_.path(), model_.manifest.teacher_digest};
};

TEST_F(StageTest, IsReadAsItWasWritten) {
  const IdleFacts facts = look();
  EXPECT_EQ(facts.published, served());
  EXPECT_EQ(facts.staged->distilled.size(), 3u);
  EXPECT_EQ(facts.record, (StageRecord{2, "recipe", ""}));
  ASSERT_TRUE(stage_.set_record({std::nullopt, "r", "m"}));
  EXPECT_EQ(look().record, (StageRecord{std::nullopt, "r", "m"}));
}

TEST_F(StageTest, PublishesALayerWithItsPlanAndKeepsWhatIsKnownOfTheOthers) {
  const Status published = stage_.publish(3);
  ASSERT_TRUE(published) << published.error().message;
  const ChainManifest now = served();
  EXPECT_EQ(now.distilled.size(), 3u);
  EXPECT_EQ(now.quality_of(1)->quality, 0.99);
  EXPECT_EQ(now.quality_of(3)->quality, 0.97);
  EXPECT_TRUE(open_dsla_layer(model_.chain(), now.distilled[2]));
  EXPECT_EQ(stage_.publish(3).error().code, ErrorCode::kRefused) << "it is there";
}

TEST_F(StageTest, PublishesNothingOnTopOfAnotherChain) {
  model_.manifest.distilled[1].checksum = std::string(32, '0');
  model_.save();
  const Status refused = stage_.publish(3);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kRefused);
  EXPECT_EQ(served().distilled.size(), 2u);
}

TEST_F(StageTest, PublishesNothingWhileSomeoneDistilsThere) {
  const auto someone = FolderLock::take(model_.chain());
  EXPECT_EQ(stage_.publish(3).error().code, ErrorCode::kRefused);
}

TEST_F(StageTest, ADamagedLayerIsNotPublished) {
  const std::filesystem::path file = stage_.chain() / ahead_.manifest.distilled[2].file;
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  EXPECT_EQ(stage_.publish(3).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(served().distilled.size(), 2u);
}

TEST_F(StageTest, BeginsAnewWithNothing) {
  std::ofstream(stage_.results(3)) << "{}";
  ASSERT_TRUE(stage_.begin({1, "other", ""}));
  EXPECT_FALSE(look().staged.has_value());
  EXPECT_EQ(look().record, (StageRecord{1, "other", ""}));
  EXPECT_FALSE(std::filesystem::exists(stage_.results(3)));
  ASSERT_TRUE(stage_.clear());
  EXPECT_FALSE(look().record.has_value());
}

TEST_F(StageTest, KeepsTheDocumentsThatItBeganWith) {
  {
    auto documents = RecentDocuments::open(stage_.recent(), 1 << 20);
    ASSERT_TRUE(documents.ok());
    ASSERT_TRUE(documents->add("Once upon a time"));
  }
  ASSERT_TRUE(stage_.begin({2, "recipe", ""}, true));
  EXPECT_EQ(look().record, (StageRecord{2, "recipe", "", 16}));
  EXPECT_TRUE(look().frozen);
  ASSERT_TRUE(stage_.begin({2, "recipe", ""}));
  EXPECT_EQ(look().record, (StageRecord{2, "recipe", ""}));
  EXPECT_FALSE(look().frozen);
  EXPECT_EQ(recent_bytes(stage_.recent()), 16u);
}

TEST(EraseDocuments, LeavesNoneUnlessAnotherProcessWorksWithThem) {
  const testing::TempDir dir;
  EXPECT_FALSE(*erase_documents(dir.path())) << "there is nothing";
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  const std::filesystem::path idle = dir.path() / "dsla/idle";
  {
    auto documents = RecentDocuments::open(idle / "recent", 1 << 20);
    ASSERT_TRUE(documents.ok());
    ASSERT_TRUE(documents->add("Once"));
    for (const char* name : {"texts.jsonl", "texts.jsonl.tmp", "record.json"})
      std::ofstream(idle / name) << "{}";
    EXPECT_EQ(erase_documents(dir.path()).error().code, ErrorCode::kRefused);
    EXPECT_EQ(recent_bytes(idle / "recent"), 4u);
  }
  EXPECT_TRUE(*erase_documents(dir.path()));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(idle), {}), 1) << "record.json";
}

TEST_F(StageTest, IsOneWorkersAtATime) {
  Stage other(model_.path(), model_.manifest.teacher_digest);
  EXPECT_EQ(other.take().error().code, ErrorCode::kRefused);
  std::filesystem::remove_all(model_.chain() / "idle");
  EXPECT_TRUE(stage_.take()) << "what was locked is gone";
  EXPECT_EQ(other.take().error().code, ErrorCode::kRefused);
}

TEST_F(StageTest, WhatCannotBeReadSaysWhatToDo) {
  IdleFacts facts;
  std::ofstream(model_.chain() / "idle/record.json") << "{}";
  EXPECT_NE(stage_.look(facts).error().message.find("remove the file"), std::string::npos);
  Stage of_others(model_.path(), "other weights");
  EXPECT_NE(of_others.look(facts).error().message.find("other weights"), std::string::npos);
}

}  // namespace
}  // namespace dslad::worker
