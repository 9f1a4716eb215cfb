#include "worker/engine/block_arena.h"

#include <gtest/gtest.h>

namespace dslad::worker {
namespace {

TEST(BlockArena, PagesComeFromTheLowEndAndRunsFromTheHigh) {
  BlockArena arena(10);
  EXPECT_EQ(arena.allocate_page(), 0);
  EXPECT_EQ(arena.allocate_run(3), 7);
  EXPECT_EQ(arena.allocate_page(), 1);
  EXPECT_EQ(arena.free_pages(), 5);
}

TEST(BlockArena, APageIsFreeWithItsLastReference) {
  BlockArena arena(2);
  const auto page = *arena.allocate_page();
  arena.retain(page);
  arena.release(page);
  EXPECT_EQ(arena.free_pages(), 1);
  arena.release(page);
  EXPECT_EQ(arena.free_pages(), 2);
  EXPECT_EQ(arena.allocate_page(), page) << "the lowest free page comes first";
}

TEST(BlockArena, AKeptPageIsSpareWithoutReadersAndFreeWithoutKeepers) {
  BlockArena arena(2);
  const auto page = *arena.allocate_page();
  arena.keep(page);
  EXPECT_EQ(arena.spare_pages(), 0) << "it has a reader";
  arena.release(page);
  EXPECT_EQ(arena.spare_pages(), 1);
  EXPECT_TRUE(arena.spare(page));
  EXPECT_EQ(arena.free_pages(), 1);
  EXPECT_NE(arena.allocate_page(), page);
  EXPECT_FALSE(arena.allocate_page()) << "a spare page is not given away";
  arena.retain(page);
  EXPECT_EQ(arena.spare_pages(), 0);
  arena.forget(page);
  EXPECT_EQ(arena.free_pages(), 0) << "it has a reader again";
  arena.release(page);
  EXPECT_EQ(arena.free_pages(), 1);
  EXPECT_EQ(arena.allocate_page(), page);
}

TEST(BlockArena, AnExhaustedArenaGivesNothing) {
  BlockArena arena(3);
  ASSERT_TRUE(arena.allocate_run(3));
  EXPECT_FALSE(arena.allocate_page());
  EXPECT_FALSE(arena.allocate_run(1));
}

TEST(BlockArena, ARunNeedsPagesSideBySide) {
  BlockArena arena(5);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(arena.allocate_page());
  arena.release(0);
  arena.release(2);
  arena.release(4);
  EXPECT_FALSE(arena.allocate_run(2));
  arena.release(3);
  EXPECT_EQ(arena.allocate_run(2), 3) << "the highest that fits";
}

}  // namespace
}  // namespace dslad::worker
