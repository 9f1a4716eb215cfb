// Jobs become tasks on a thread of their own, in their order; what is forgotten never comes.
#include "worker/service/request_maker.h"

#include <condition_variable>
#include <gtest/gtest.h>
#include <mutex>
#include <string>
#include <vector>

#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

class RequestMakerTest : public ::testing::Test {
 protected:
  RequestMakerTest() : maker_(model(), 512, [this] { note_made(); }) {}

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
  maker_.add(assignment(1, "Once upon a time"));
  maker_.add(assignment(2, "bad \xff byte"));
  maker_.add(assignment(3, "there was"));
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
  maker_.add(large);
  maker_.add(other);
  maker_.add(last);
  EXPECT_TRUE(maker_.forget(large.lease)) << "in work, waiting or made";
  EXPECT_TRUE(maker_.forget(other.lease));
  EXPECT_FALSE(maker_.forget(other.lease));
  EXPECT_EQ(next().assign.lease.job, 3);
  EXPECT_FALSE(maker_.forget(last.lease)) << "it was taken";
  EXPECT_EQ(maker_.held(), 0u);
}

TEST_F(RequestMakerTest, GivesWhatIsWantedOfAText) {
  EXPECT_TRUE((maker_.add(assignment(1, "Once upon a time")), next().text.empty())) << "nothing is";
  RequestMaker wants(
      model(), 512, [this] { note_made(); }, 5);
  schema::Assign summary = assignment(3, "");
  summary.spec.task = schema::Task::kSummarize;
  summary.spec.document = "Tom";
  for (const schema::Assign& job :
       {assignment(1, "Once\xe2\x82\xac"), assignment(2, "bad \xff byte"), summary}) {
    wants.add(job);
  }
  std::vector<std::string> texts;
  while (texts.size() < 3) {
    if (auto made = wants.take()) texts.push_back(made->text);
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"Once", "", "Tom"}));
}

}  // namespace
}  // namespace dslad::worker
