#include "daemon/config.h"

#include <fstream>
#include <gmock/gmock.h>
#include <random>

#include "daemon/reload.h"
#include "tests/daemon/fixture.h"

namespace dslad::daemon {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class ConfigFile : public ::testing::Test {
 protected:
  ConfigErrors read(const std::string& text) {
    std::ofstream(file_, std::ios::binary) << text;
    return read_config_file(file_, config_);
  }

  test::TempDir folder_;
  std::filesystem::path file_ = folder_.path() / "dslad.toml";
  Config config_;
};

TEST_F(ConfigFile, SetsWhatItNamesAndLeavesTheRest) {
  EXPECT_THAT(read("[workers]\nlease_ms = 5000\n[listen]\njobs = \"ipc:///x\"\n"), IsEmpty());
  EXPECT_EQ(config_.lease_ms, 5000);
  EXPECT_EQ(config_.jobs_url, "ipc:///x");
  EXPECT_EQ(config_.heartbeat_ms, Config{}.heartbeat_ms);
}

TEST(ConfigUrls, AreSeparatedByCommasAndEachIsLookedAt) {
  const auto wrong = [](const std::string& urls) {
    Config config;
    config.jobs_url = urls;
    const Status valid = config.validate();
    return valid ? std::string() : valid.error().message;
  };
  EXPECT_EQ(wrong("ipc:///run/x.sock"), "");
  EXPECT_EQ(wrong("ipc:///run/x.sock, tcp://0.0.0.0:1 ,tcp://[::]:2"), "");
  EXPECT_EQ(wrong("ipc:///my queue/x.sock,"), "");
  EXPECT_THAT(wrong("ipc:///x, http://y"), HasSubstr("listen.jobs is 'http://y'; give ipc://PATH"));
  EXPECT_THAT(wrong(""), HasSubstr("listen.jobs is ''"));
  EXPECT_THAT(wrong(" , "), HasSubstr("listen.jobs is ' , '"));
  EXPECT_THAT(wrong("ipc:///x,ipc:///x"), HasSubstr("twice"));
  std::string many;
  for (int i = 0; i < 17; ++i) many += "tcp://0.0.0.0:" + std::to_string(7000 + i) + ",";
  EXPECT_THAT(wrong(many), HasSubstr("more than 16"));
}

TEST_F(ConfigFile, UnknownKeySuggestsTheNearest) {
  EXPECT_THAT(
      read("[workers]\n\nleas_ms = 5000\n"),
      ElementsAre(file_.string() + ":3: unknown key 'workers.leas_ms'; did you mean 'workers.lease_ms'?"));
  EXPECT_THAT(read("max_attempts = 2\n"), ElementsAre(HasSubstr("did you mean 'queue.max_attempts'")));
}

TEST_F(ConfigFile, ValuesOutOfRangeOrOfAnotherTypeNameTheirLine) {
  EXPECT_THAT(read("[workers]\nlease_ms = 1\n"),
              ElementsAre(HasSubstr(":2: workers.lease_ms is 1; it must be an")));
  EXPECT_THAT(read("[workers]\nlease_ms = \"long\"\n"), ElementsAre(HasSubstr("must be an integer")));
  EXPECT_THAT(read("[listen]\njobs = 5\n"), ElementsAre(HasSubstr("must be text")));
  EXPECT_THAT(read("[log]\nlevel = \"loud\"\n"), ElementsAre(HasSubstr("one of debug, info")));
}

TEST_F(ConfigFile, SharesAreNumbersFromZeroToOne) {
  EXPECT_THAT(read("[policy]\nkind = \"static\"\nmin_quality = 0.9\n"), IsEmpty());
  EXPECT_EQ(config_.policy, "static");
  EXPECT_EQ(config_.min_quality, 0.9);
  EXPECT_THAT(read("[policy]\nmin_quality = 1\n"), IsEmpty());
  EXPECT_EQ(config_.min_quality, 1.0);
  for (const char* wrong : {"1.5", "-0.1", "2", "nan", "\"much\"", "true"}) {
    EXPECT_THAT(read(std::string("[policy]\nmin_quality = ") + wrong),
                ElementsAre(HasSubstr("must be a number from 0 to 1")))
        << wrong;
  }
  EXPECT_THAT(apply_setting("policy.min_quality=0.5", config_), IsEmpty());
  EXPECT_EQ(config_.min_quality, 0.5);
}

TEST_F(ConfigFile, EveryErrorIsReported) {
  EXPECT_THAT(read("a = 1\nb = 2\n"), testing::SizeIs(2));
}

TEST_F(ConfigFile, BrokenTomlNamesItsLine) {
  EXPECT_THAT(read("[workers]\nlease_ms = \n"), ElementsAre(HasSubstr("dslad.toml:2: ")));
  EXPECT_THAT(read_config_file(folder_.path() / "absent.toml", config_),
              ElementsAre(HasSubstr("cannot be read")));
}

TEST_F(ConfigFile, MutatedFilesAreReadOrRefused) {
  const std::string original =
      "[workers]\nlease_ms = 5000\n[listen]\njobs = \"ipc:///x\"\n[log]\nlevel = 'info'\n";
  std::mt19937 random(11);
  for (int round = 0; round < 500; ++round) {
    std::string text = original;
    for (int edits = 0; edits < 3; ++edits) text[random() % text.size()] = static_cast<char>(random());
    read(text);
  }
  EXPECT_THAT(read(original), IsEmpty());
}

TEST(ConfigSetting, TakesTheKeysType) {
  Config config;
  EXPECT_THAT(apply_setting("workers.lease_ms=2000", config), IsEmpty());
  EXPECT_THAT(apply_setting("store.state_dir=/srv/a=b", config), IsEmpty());
  EXPECT_EQ(config.lease_ms, 2000);
  EXPECT_EQ(config.state_dir, "/srv/a=b");
}

TEST(ConfigSetting, BadOnesAreNamed) {
  Config config;
  EXPECT_THAT(apply_setting("workers.lease_ms=2s", config), ElementsAre(HasSubstr("'2s' is not an integer")));
  EXPECT_THAT(apply_setting("workers.lease_ms", config), ElementsAre(HasSubstr("KEY=VALUE")));
  EXPECT_THAT(apply_setting("nonsense=1", config), ElementsAre(HasSubstr("unknown key")));
}

TEST(ConfigDefaults, AreValidAndListed) {
  EXPECT_TRUE(Config{}.validate().ok());
  EXPECT_GE(config_keys().size(), 12U);
}

TEST(ConfigDefaults, HeartbeatFollowsTheLease) {
  Config config;
  config.lease_ms = 500;
  EXPECT_EQ(config.heartbeat_interval_ms(), 100);
  EXPECT_TRUE(apply_setting("workers.heartbeat_ms=0", config).empty());  // as by default
  EXPECT_EQ(config.heartbeat_interval_ms(), 100);
  EXPECT_TRUE(config.validate().ok());
}

TEST(ConfigDefaults, AHeartbeatOfAFewMillisecondsIsRefused) {
  Config config;
  config.heartbeat_ms = 9;
  EXPECT_FALSE(config.validate().ok());
  config.heartbeat_ms = 10;
  EXPECT_TRUE(config.validate().ok());
}

TEST(ConfigDefaults, LeaseMustOutlastTwoHeartbeats) {
  Config config;
  config.heartbeat_ms = config.lease_ms;
  EXPECT_FALSE(config.validate().ok());
}

TEST(Reload, TakesWhatMayChangeAndRefusesTheRestByName) {
  const Config now;
  Config asked = now;
  asked.max_queued = 7;
  asked.log_level = "debug";
  asked.state_dir = "/elsewhere";
  asked.policy = "static";
  const Reload reload = plan_reload(now, asked);
  EXPECT_EQ(reload.config.max_queued, 7);
  EXPECT_EQ(reload.config.log_level, "debug");
  EXPECT_EQ(reload.config.state_dir, now.state_dir);
  EXPECT_EQ(reload.config.policy, now.policy);
  EXPECT_THAT(reload.changed, UnorderedElementsAre("queue.max_queued is 7 now, was 1000000",
                                                   "log.level is debug now, was info"));
  EXPECT_THAT(reload.refused,
              UnorderedElementsAre(HasSubstr("store.state_dir stays"),
                                   AllOf(HasSubstr("policy.kind stays"), HasSubstr("dslactl policy set"))));
}

TEST(Reload, OfTheSameConfigurationChangesNothing) {
  const Reload reload = plan_reload(Config{}, Config{});
  EXPECT_THAT(reload.changed, IsEmpty());
  EXPECT_THAT(reload.refused, IsEmpty());
}

}  // namespace
}  // namespace dslad::daemon
