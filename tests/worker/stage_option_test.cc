#include "worker/tools/stage_option.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dslad::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(StageOption, NamesALossStepsAndPerhapsMore) {
  const auto shortest = parse_stage_option("layerwise,steps=40");
  ASSERT_TRUE(shortest.ok()) << shortest.error().message;
  EXPECT_EQ(shortest->stage.loss, Stage::kLayerwise);
  EXPECT_EQ(shortest->stage.options.steps, 40);
  EXPECT_EQ(shortest->stage.options.warm_up, 4);
  EXPECT_TRUE(shortest->stage.is_for(0.0));
  EXPECT_TRUE(shortest->files.empty());

  const auto whole =
      parse_stage_option("chained,steps=2300,rate=1.5e-3,above=0.05,sequence=8192,text=a.jsonl,text=b c.txt");
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  EXPECT_EQ(whole->stage.loss, Stage::kChained);
  EXPECT_EQ(whole->stage.options.rate, 1.5e-3);
  EXPECT_FALSE(whole->stage.is_for(0.05));
  EXPECT_TRUE(whole->stage.is_for(0.051));
  EXPECT_EQ(whole->sequence, 8192);
  EXPECT_THAT(whole->files, ElementsAre("a.jsonl", "b c.txt"));
}

TEST(StageOption, SaysWhatIsWrong) {
  for (const auto& [text, what] : {std::pair{"", "layerwise or chained"},
                                   {"joint,steps=3", "layerwise or chained"},
                                   {"chained", "steps=NUMBER"},
                                   {"chained,rate=1e-3", "steps=NUMBER"},
                                   {"chained,steps", "steps= must be"},
                                   {"chained,steps=0", "steps=0 must be"},
                                   {"chained,steps=1.5", "steps=1.5 must be"},
                                   {"chained,steps=3,rate=-1", "rate=-1 must be"},
                                   {"chained,steps=3,rate=nan", "rate=nan must be"},
                                   {"chained,steps=3,above=x", "above=x must be"},
                                   {"chained,steps=3,sequence=99", "text=FILE"},
                                   {"chained,steps=3,sequence=4,text=a", "sequence=4 must be"},
                                   {"chained,steps=3,text=", "must name a file"},
                                   {"chained,steps=3,,text=a", "no part ''"},
                                   {"chained,steps=3,hard=1", "no part 'hard'"}}) {
    const auto parsed = parse_stage_option(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(parsed.error().message, HasSubstr(what)) << text;
    EXPECT_THAT(parsed.error().message, HasSubstr("--stage")) << text;
  }
}

}  // namespace
}  // namespace dslad::worker
