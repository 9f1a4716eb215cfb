// Jobs become tasks on a thread of their own, in their order; what is forgotten never comes.
#include "worker/service/request_maker.h"

#include <condition_variable>
#include <gtest/gtest.h>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

class RequestMakerTest : public ::testing::Test {
 protected:
  RequestMakerTest() : maker_(model(), [this] { note_made(); }) {}

  static const ModelFolder& model() {
    static const ModelFolder loaded = *ModelFolder::load(golden("stories260K"), kernels::WeightFormat::kF32);
    return loaded;
  }

  static schema::Assign assignment(schema::JobId job, std::string prompt) {
    schema::Assign assign;
    assign.lease.job = job;
    assign.lease.attempt = 1;
    assign.spec.task = schema::Task::kGenerate;
    assign.spec.prompt = std::move(prompt);
    return assign;
  }

  static constexpr std::int64_t kLongest = 512;

  void add(schema::Assign job, std::int64_t longest = kLongest) {
    maker_.add(std::move(job), nullptr, longest);
  }

  // Waits for the maker to say so.
  RequestMaker::Made next() {
    for (;;) {
      if (auto made = maker_.take()) return *std::move(made);
      std::unique_lock lock(mutex_);
      made_.wait(lock, [&] { return told_ > 0; });
      --told_;
    }
  }

  void note_made() {
    const std::lock_guard lock(mutex_);
    ++told_;
    made_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable made_;
  int told_ = 0;
  RequestMaker maker_;
};

TEST_F(RequestMakerTest, KeepsTheOrder_AndErrorsAreTheJobs) {
  add(assignment(1, "Once upon a time"));
  add(assignment(2, "bad \xff byte"));
  add(assignment(3, "there was"));
  auto first = next();
  EXPECT_EQ(first.assign.lease.job, 1u);
  ASSERT_TRUE(first.requests.ok());
  EXPECT_GT((*first.requests->next(1))->head.size(), 1u);
  EXPECT_TRUE(first.assign.spec.prompt.empty()) << "its text is gone";
  EXPECT_FALSE(next().requests.ok());
  EXPECT_EQ(next().assign.lease.job, 3);
  EXPECT_EQ(maker_.held(), 0u);
}

TEST_F(RequestMakerTest, ForgetsWhatWasNotTaken) {
  const auto large = assignment(1, std::string(200'000, 'a'));
  const auto other = assignment(2, "Once"), last = assignment(3, "upon");
  add(large);
  add(other);
  add(last);
  EXPECT_TRUE(maker_.forget(large.lease)) << "in work, waiting or made";
  EXPECT_TRUE(maker_.forget(other.lease));
  EXPECT_FALSE(maker_.forget(other.lease));
  EXPECT_EQ(next().assign.lease.job, 3);
  EXPECT_FALSE(maker_.forget(last.lease)) << "it was taken";
  EXPECT_EQ(maker_.held(), 0u);
}

TEST_F(RequestMakerTest, GivesWhatIsWantedOfAText) {
  EXPECT_TRUE((add(assignment(1, "Once upon a time")), next().text.empty())) << "nothing is";
  RequestMaker wants(
      model(), [this] { note_made(); }, 5);
  schema::Assign summary = assignment(3, "");
  summary.spec.task = schema::Task::kSummarize;
  summary.spec.document = "Tom";
  for (const schema::Assign& job :
       {assignment(1, "Once\xe2\x82\xac"), assignment(2, "bad \xff byte"), summary}) {
    wants.add(job, nullptr, kLongest);
  }
  std::vector<std::string> texts;
  while (texts.size() < 3) {
    if (auto made = wants.take()) texts.push_back(made->text);
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"Once", "", "Tom"}));
}

TEST_F(RequestMakerTest, CutsADocumentToTheRoomOfItsOwnPlan) {
  std::string document;
  for (int i = 0; i < 100; ++i) document += "Tom had a red ball and Lily had a big box.\n\n";
  schema::Assign job = assignment(1, "");
  job.spec.task = schema::Task::kSummarize;
  job.spec.document = document;
  job.spec.overflow = schema::Overflow::kTruncate;
  add(job, 256);
  add(job, 448);
  const std::uint64_t small = next().requests->cut_tokens();
  const std::uint64_t large = next().requests->cut_tokens();
  EXPECT_GT(small, large + 100);
  EXPECT_GT(large, 0u);
}

}  // namespace
}  // namespace dslad::worker
