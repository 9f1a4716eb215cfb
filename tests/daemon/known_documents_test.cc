// What workers are expected to know of documents.
#include "daemon/dispatch/known_documents.h"

#include <gmock/gmock.h>

namespace dslad::daemon {
namespace {

class KnownDocumentsTest : public testing::Test {
 protected:
  // A job on the document is given to the worker, and ends.
  void run(std::int64_t document, std::uint32_t plan, std::uint64_t reused = 0,
           const std::string& edition = "e1") {
    known_.given(document);
    schema::JobMetrics metrics;
    metrics.plan = plan;
    metrics.edition = edition;
    metrics.prompt_tokens = 1'000;
    metrics.reused_tokens = reused;
    known_.read(document, metrics);
  }

  // Tokens that are expected to be known, by document and plan.
  [[nodiscard]] double tokens(std::int64_t document, std::uint32_t plan,
                              const std::string& edition = "e1") const {
    for (const policy::ReadDocument& one : known_.on_plans_of(edition)) {
      if (one.document == document && one.plan == plan) return one.tokens;
    }
    return -1;
  }

  KnownDocuments known_;
};

TEST_F(KnownDocumentsTest, NothingIsExpectedBeforeADocumentCameAgainAndWasKnown) {
  run(1, 0);
  EXPECT_EQ(tokens(1, 0), 0);
  run(1, 0, 896);
  EXPECT_EQ(tokens(1, 0), 896);
  run(2, 4);
  EXPECT_EQ(tokens(2, 4), 1'000);
  EXPECT_EQ(tokens(2, 0), -1);
}

TEST_F(KnownDocumentsTest, AWorkerThatForgetsIsBelievedLessAndLess) {
  run(1, 0);
  run(1, 0, 896);
  run(1, 0);
  EXPECT_LT(tokens(1, 0), 600);
  for (int i = 0; i < 30; ++i) run(1, 0);
  EXPECT_LT(tokens(1, 0), 10);
}

TEST_F(KnownDocumentsTest, AnotherEditionOfTheChainHasReadNothingButOnPlanZero) {
  for (const std::uint32_t plan : {0U, 4U}) {
    run(1, plan);
    run(1, plan, 896);
  }
  EXPECT_EQ(tokens(1, 0, "e2"), 896);
  EXPECT_EQ(tokens(1, 4, "e2"), -1);
  run(1, 4, 0, "e2");  // read anew, which is no sign of a short memory
  EXPECT_EQ(tokens(1, 4, "e2"), 1'000);
}

TEST_F(KnownDocumentsTest, TheLatestEightAreKept) {
  for (std::int64_t document = 1; document <= 9; ++document) run(document, 0);
  EXPECT_THAT(known_.names(), testing::ElementsAre(2, 3, 4, 5, 6, 7, 8, 9));
  EXPECT_EQ(tokens(1, 0), -1);
  EXPECT_EQ(tokens(9, 0), 0);
  run(0, 0);  // a job without a document
  EXPECT_EQ(known_.names().size(), 8U);
}

TEST_F(KnownDocumentsTest, WhatWasReadInPartsIsNotKnownAsAWhole) {
  schema::JobMetrics metrics;
  metrics.prompt_tokens = 30'000;
  metrics.parts = 5;
  known_.given(1);
  known_.read(1, metrics);
  EXPECT_EQ(tokens(1, 0), -1);
}

}  // namespace
}  // namespace dslad::daemon
