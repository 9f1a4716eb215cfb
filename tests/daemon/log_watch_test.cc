#include "daemon/service/log_watch.h"

#include <gtest/gtest.h>

namespace dslad::daemon {
namespace {

TEST(LogWatch, LogThatCannotBeEmptiedIsToldOnceUntilItIsSmallAgain) {
  LogWatch watch("dslad.db", 1'000);
  EXPECT_FALSE(watch.look(2'000, 0)) << "it is merely large";
  EXPECT_FALSE(watch.look(900, 5'000)) << "it is held up, and small";
  EXPECT_TRUE(watch.look(1'000, 5'000));
  EXPECT_FALSE(watch.look(3'000, 9'000));
  EXPECT_FALSE(watch.look(800, 0));
  EXPECT_FALSE(watch.look(1'200, 1'000)) << "it was never small";
  EXPECT_FALSE(watch.look(0, 0));
  EXPECT_TRUE(watch.look(1'200, 1'000));
}

}  // namespace
}  // namespace dslad::daemon
