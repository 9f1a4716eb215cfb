#include "worker/distill/budget_record.h"

#include <fstream>
#include <gtest/gtest.h>

#include "tests/worker/test_files.h"

namespace dslad::worker {
namespace {

BudgetRecord record_of_a_run() {
  BudgetRecord record;
  record.recipe = {{"seed", 7}};
  record.used = 61.5;
  record.joint_step = 0.25;
  record.pass = 1e-6;
  record.layerwise = {40, 31};
  record.held_out = 3;
  record.chained[4] = {12, {}};
  record.chained[11] = {9, 2};
  return record;
}

TEST(BudgetRecord, IsReadAsItWasWritten) {
  const testing::TempDir folder;
  EXPECT_FALSE(load_budget_record(folder.path())->has_value());
  const BudgetRecord written = record_of_a_run();
  ASSERT_TRUE(save_budget_record(folder.path(), written));
  const auto read = load_budget_record(folder.path());
  ASSERT_TRUE(read && read->has_value());
  EXPECT_EQ(written.decisions(), (*read)->decisions());
  EXPECT_EQ(written.recipe, (*read)->recipe);
  EXPECT_EQ(61.5, (*read)->used);
  EXPECT_EQ(0.25, (*read)->joint_step);
  EXPECT_EQ(1e-6, (*read)->pass);
}

TEST(BudgetRecord, WhatIsWrongInItIsNamed) {
  const testing::TempDir folder;
  ASSERT_TRUE(save_budget_record(folder.path(), record_of_a_run()));
  const std::string good = testing::read_text(folder.path() / "budget.json");
  const auto with = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    std::ofstream(folder.path() / "budget.json") << text;
    const auto read = load_budget_record(folder.path());
    return read ? "" : read.error().message;
  };
  EXPECT_EQ("", with("61.5", "61.5"));
  for (const auto& [from, to, word] :
       std::vector<std::array<const char*, 3>>{{"61.5", "-1", "used_seconds"},
                                               {"\"11\"", "\"eleven\"", "eleven"},
                                               {"31", "\"some\"", "ended_at"},
                                               {"\"held_out_tokens\": 3", "\"x\": 3", "held_out"},
                                               {"{", "[", "budget.json"}}) {
    const std::string error = with(from, to);
    EXPECT_NE(std::string::npos, error.find(word)) << error;
    EXPECT_NE(std::string::npos, error.find("budget.json")) << error;
  }
}

}  // namespace
}  // namespace dslad::worker
