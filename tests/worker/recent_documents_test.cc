// What is kept of the latest jobs' texts: how much, who may read it, and what a restart or a kill makes of
// it.
#include "worker/idle/recent_documents.h"

#include <algorithm>
#include <array>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/worker/test_files.h"
#include "worker/eval/eval_data.h"
#include "worker/idle/document_keeper.h"

namespace dslad::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kBudget = 8 * kBlock;

class RecentDocumentsTest : public ::testing::Test {
 protected:
  [[nodiscard]] Result<RecentDocuments> open(std::uint64_t budget = kBudget) const {
    return RecentDocuments::open(folder_, budget);
  }
  void add(std::initializer_list<std::string> texts) const {
    auto documents = open();
    ASSERT_TRUE(documents.ok()) << documents.error().message;
    for (const std::string& text : texts) {
      const Status added = documents->add(text);
      ASSERT_TRUE(added) << added.error().message;
    }
  }
  // The oldest first.
  [[nodiscard]] std::vector<std::filesystem::path> files() const {
    const std::filesystem::directory_iterator entries(folder_);
    std::vector<std::filesystem::path> all(begin(entries), end(entries));
    std::ranges::sort(all);
    return all;
  }
  [[nodiscard]] std::vector<std::string> texts() const {
    std::vector<std::string> all;
    for (const std::filesystem::path& file : files()) all.push_back(testing::read_text(file));
    return all;
  }
  static mode_t mode_of(const std::filesystem::path& path) {
    struct stat found {};
    EXPECT_EQ(stat(path.c_str(), &found), 0) << path;
    return found.st_mode & 0777;
  }

  testing::TempDir dir_;
  std::filesystem::path folder_ = dir_.path() / "dsla/idle/recent";
};

TEST_F(RecentDocumentsTest, AreTheirOwnersAlone) {
  const mode_t before = umask(0);
  std::filesystem::create_directories(folder_);
  add({"one"});
  umask(before);
  EXPECT_EQ(mode_of(folder_), 0700u);
  ASSERT_EQ(files().size(), 1u);
  EXPECT_EQ(mode_of(files().front()), 0600u);
}

TEST_F(RecentDocumentsTest, KeepTheLatestWithinTheBudget_AlsoAfterARestart) {
  std::array<std::string, 6> all;
  for (std::size_t i = 0; i < all.size(); ++i) all[i].assign(kBlock + 1, static_cast<char>('a' + i));
  add({all[0], all[1], all[2]});
  add({all[3], all[4]});
  EXPECT_THAT(texts(), ElementsAre(all[1], all[2], all[3], all[4])) << "two blocks each";
  add({all[5], "x", "y"});
  EXPECT_THAT(texts(), ElementsAre(all[3], all[4], all[5], "x", "y"));
  ASSERT_TRUE(open(4 * kBlock).ok());
  EXPECT_THAT(texts(), ElementsAre(all[5], "x", "y")) << "a smaller budget";
}

TEST_F(RecentDocumentsTest, ATextThatComesAgainIsTheLatestAndThereOnce) {
  add({"one", "two", "three", "one", "one"});
  EXPECT_THAT(texts(), ElementsAre("two", "three", "one"));
  add({"two", ""});
  EXPECT_THAT(texts(), ElementsAre("three", "one", "two"));
}

TEST_F(RecentDocumentsTest, OfALongTextItsBeginningIsKept) {
  std::string text = "\xe2\x82\xac";
  while (text.size() < kBudget) text += text;
  add({"short", text, text + "another end"});
  ASSERT_EQ(texts().size(), 2u);
  const std::string kept = texts().back();
  EXPECT_LE(kept.size(), RecentDocuments::longest(kBudget));
  EXPECT_GT(kept.size(), RecentDocuments::longest(kBudget) - 3);
  EXPECT_EQ(kept, text.substr(0, kept.size())) << "no character is cut";
  EXPECT_EQ(kept.size() % 3, 0u);
}

TEST_F(RecentDocumentsTest, WhatAKillLeftIsNoText) {
  add({"one"});
  std::ofstream(folder_ / "new") << "half a te";
  std::ofstream(folder_ / "notes.txt") << "somebody's own";
  EXPECT_EQ(recent_bytes(folder_), 3u);
  add({"two"});
  EXPECT_FALSE(std::filesystem::exists(folder_ / "new"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "notes.txt"));
  EXPECT_EQ(recent_bytes(folder_), 6u);
}

TEST_F(RecentDocumentsTest, AreOneProcessesAtATime) {
  const auto first = open();
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(open().error().code, ErrorCode::kRefused);
}

TEST_F(RecentDocumentsTest, AFailureLosesNothingAndIsTheSameEachTime) {
  add({"one"});
  auto documents = open();
  ASSERT_TRUE(documents.ok());
  std::filesystem::create_directory(folder_ / "new");  // nothing can be written there, as root neither
  const Status first = documents->add("two"), second = documents->add("three");
  ASSERT_FALSE(first);
  ASSERT_FALSE(second);
  EXPECT_EQ(first.error().message, second.error().message);
  EXPECT_THAT(first.error().message, HasSubstr(folder_.string() + ": cannot make a file: "));
  std::filesystem::remove(folder_ / "new");
  EXPECT_TRUE(documents->add("four"));
  EXPECT_THAT(texts(), ElementsAre("one", "four"));
}

TEST_F(RecentDocumentsTest, FilesThatSomebodyRemovedAreNoTrouble) {
  auto documents = open();
  ASSERT_TRUE(documents->add("one"));
  ASSERT_TRUE(documents->add("two"));
  for (const std::filesystem::path& file : files()) std::filesystem::remove(file);
  ASSERT_TRUE(documents->add("two"));
  ASSERT_TRUE(documents->add("one"));
  EXPECT_THAT(texts(), ElementsAre("two", "one"));
  std::filesystem::remove_all(folder_);
  EXPECT_EQ(documents->add("three").error().code, ErrorCode::kNotFound);
}

TEST_F(RecentDocumentsTest, AreFrozenIntoAFileThatDistilReads) {
  add({"One.\n\"{}\" \xe2\x82\xac", "Two."});
  const std::filesystem::path file = dir_.path() / "texts.jsonl";
  const auto frozen = freeze_recent(folder_, file);
  ASSERT_TRUE(frozen.ok()) << frozen.error().message;
  EXPECT_EQ(*frozen, recent_bytes(folder_));
  EXPECT_EQ(mode_of(file), 0600u);
  add({"Three."});
  const auto data = load_eval_data(file);
  ASSERT_TRUE(data.ok()) << data.error().message;
  EXPECT_EQ(data->kind, DataKind::kText);
  EXPECT_THAT(data->texts, ElementsAre("One.\n\"{}\" \xe2\x82\xac", "Two."));
}

TEST_F(RecentDocumentsTest, ADamagedTextIsLeftOutAndRemoved) {
  add({"one", "two"});
  std::filesystem::resize_file(files().front(), 1);
  const std::filesystem::path file = dir_.path() / "texts.jsonl";
  EXPECT_EQ(*freeze_recent(folder_, file), 3u);
  EXPECT_THAT(texts(), ElementsAre("two"));
  std::filesystem::resize_file(files().front(), 1);
  std::filesystem::remove(file);
  EXPECT_EQ(*freeze_recent(folder_, file), 0u);
  EXPECT_FALSE(std::filesystem::exists(file));
  EXPECT_EQ(*freeze_recent(dir_.path() / "none", file), 0u);
  EXPECT_EQ(recent_bytes(dir_.path() / "none"), 0u);
}

TEST_F(RecentDocumentsTest, AKeeperHasWrittenAllWhenItEnds) {
  {
    DocumentKeeper keeper(folder_, kBudget);
    for (const char* text : {"one", "two", "one"}) keeper.keep(text);
  }
  EXPECT_THAT(texts(), ElementsAre("two", "one"));
}

TEST_F(RecentDocumentsTest, AKeeperMakesAFolderThatWasRemovedAnew) {
  DocumentKeeper keeper(folder_, kBudget);
  keeper.keep("one");
  while (recent_bytes(folder_) < 3) std::this_thread::yield();
  std::filesystem::remove_all(folder_);
  keeper.keep("two");
  while (recent_bytes(folder_) < 3) std::this_thread::yield();
  EXPECT_THAT(texts(), ElementsAre("two"));
}

TEST_F(RecentDocumentsTest, AKeeperSaysOnceWhatIsWrongAndGoesOn) {
  std::filesystem::create_directories(folder_.parent_path());
  std::ofstream(folder_) << "no folder";
  ::testing::internal::CaptureStdout();
  {
    DocumentKeeper keeper(folder_, kBudget);
    for (const char* text : {"one", "two", "three"}) keeper.keep(text);
  }
  const std::string said = ::testing::internal::GetCapturedStdout();
  const std::string complaint = "documents are not kept: ";
  ASSERT_THAT(said, HasSubstr(complaint));
  EXPECT_EQ(said.find(complaint), said.rfind(complaint)) << said;
  EXPECT_EQ(testing::read_text(folder_), "no folder");
}

}  // namespace
}  // namespace dslad::worker
