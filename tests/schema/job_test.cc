#include "schema/job.h"

#include <gtest/gtest.h>

#include "schema/limits.h"

namespace dslad::schema {
namespace {

JobSpec summarize() {
  JobSpec spec;
  spec.document = "text";
  return spec;
}

JobSpec qa() {
  JobSpec spec = summarize();
  spec.task = Task::kQa;
  spec.questions = {"Who?"};
  return spec;
}

void expect_invalid(const JobSpec& spec, std::string_view word) {
  const Status status = spec.validate();
  ASSERT_FALSE(status.ok()) << word;
  EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(status.error().message.find(word), std::string::npos) << status.error().message;
}

TEST(Job, EveryWordIsReadBack) {
  for (const JobState state : {JobState::kQueued, JobState::kRunning, JobState::kSucceeded, JobState::kFailed,
                               JobState::kCancelled, JobState::kExpired}) {
    JobState read = JobState::kQueued;
    EXPECT_TRUE(parse_word(to_string(state), read));
    EXPECT_EQ(read, state);
  }
  Task task = Task::kQa;
  EXPECT_FALSE(parse_word("translate", task));
  EXPECT_EQ(task, Task::kQa);
}

TEST(Job, OnlyEndedStatesAreFinal) {
  EXPECT_FALSE(is_final(JobState::kQueued));
  EXPECT_FALSE(is_final(JobState::kRunning));
  EXPECT_TRUE(is_final(JobState::kSucceeded));
  EXPECT_TRUE(is_final(JobState::kExpired));
}

TEST(JobSpec, EachTaskNeedsItsParts) {
  EXPECT_TRUE(summarize().validate().ok());
  EXPECT_TRUE(qa().validate().ok());
  expect_invalid(JobSpec{}, "document");
  JobSpec no_question = qa();
  no_question.questions.clear();
  expect_invalid(no_question, "question");
  JobSpec generate;
  generate.task = Task::kGenerate;
  expect_invalid(generate, "prompt");
  generate.prompt = "Once";
  EXPECT_TRUE(generate.validate().ok());
}

TEST(JobSpec, PartsOfAnotherTaskAreRefused) {
  JobSpec spec = summarize();
  spec.questions = {"Who?"};
  expect_invalid(spec, "questions");
  spec = summarize();
  spec.prompt = "Once";
  expect_invalid(spec, "prompt");
}

TEST(JobSpec, BoundsAreKept) {
  JobSpec spec = summarize();
  spec.document.assign(kMaxDocumentBytes, 'x');
  EXPECT_TRUE(spec.validate().ok());
  spec.document += 'x';
  expect_invalid(spec, "document");
  spec = qa();
  spec.questions.assign(kMaxQuestions + 1, "Who?");
  expect_invalid(spec, "questions");
  spec = qa();
  spec.document.assign(kMaxDocumentBytes, 'x');
  spec.questions.assign(kMaxQuestions, std::string(kMaxQuestionBytes, '?'));
  expect_invalid(spec, "the job");
  spec = summarize();
  spec.options.max_tokens = 0;
  expect_invalid(spec, "max_tokens");
  spec = summarize();
  spec.options.top_p = 0;
  expect_invalid(spec, "top_p");
  spec = summarize();
  spec.options.temperature = -1;
  expect_invalid(spec, "temperature");
}

}  // namespace
}  // namespace dslad::schema
