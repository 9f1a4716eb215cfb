// What a process may use, by made-up control groups.
#include "base/process/allowance.h"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <string>

namespace dslad::process {
namespace {

namespace fs = std::filesystem;

class Allowance : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "dslad-allowance-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const fs::path& file, const std::string& text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }

  fs::path root_;
};

TEST_F(Allowance, IsTheMachinesWithoutControlGroups) {
  const MemoryAllowance memory = memory_allowance(root_);
  EXPECT_GT(memory.bytes, std::size_t{1} << 20);
  EXPECT_EQ(memory.source, "the machine's memory");
  EXPECT_GE(processor_allowance(root_), 1);
}

TEST_F(Allowance, IsTheLeastOfTheGroupAndThoseAboveIt) {
  write("proc/self/cgroup", "0::/system.slice/system-dslad.slice/dslad-worker@cpu.service\n");
  const fs::path slice = "sys/fs/cgroup/system.slice";
  const fs::path unit = slice / "system-dslad.slice/dslad-worker@cpu.service";
  write(unit / "memory.max", "max\n");
  write(unit / "memory.high", "900000\n");
  write(slice / "memory.max", "800000\n");
  write("sys/fs/cgroup/memory.max", "max\n");
  write(unit / "cpu.max", "max 100000\n");
  write(slice / "cpu.max", "20000 100000\n");
  const MemoryAllowance memory = memory_allowance(root_);
  EXPECT_EQ(memory.bytes, 800'000U);
  EXPECT_EQ(memory.source, (root_ / slice / "memory.max").string());
  EXPECT_EQ(processor_allowance(root_), 1);
}

TEST_F(Allowance, KnowsControlGroupsOfTheFirstVersion) {
  write("proc/self/cgroup", "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n");
  write("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "700000\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "50000\n");
  write("sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(memory_allowance(root_).bytes, 700'000U);
  EXPECT_EQ(processor_allowance(root_), 1);
}

TEST_F(Allowance, TakesTheGroupsAboveOneThatIsNotSeenFromWithin) {
  write("proc/self/cgroup", "0::/../../outside/here\n0::/x\n");
  write("sys/fs/cgroup/memory.max", "600000");
  EXPECT_EQ(memory_allowance(root_).bytes, 600'000U);
  write("proc/self/cgroup", "0::/not/there\n");
  EXPECT_EQ(memory_allowance(root_).bytes, 600'000U);
}

TEST_F(Allowance, IgnoresWhatIsNoLimit) {
  for (const char* text : {"", "0", "-1", "12x", "99999999999999999999999", "1 2", "\n\n", "max"}) {
    write("proc/self/cgroup", "0::/a\n");
    write("sys/fs/cgroup/a/memory.max", text);
    write("sys/fs/cgroup/a/cpu.max", text);
    EXPECT_EQ(memory_allowance(root_).source, "the machine's memory") << text;
    EXPECT_GE(processor_allowance(root_), 1) << text;
  }
  for (const char* text : {"", ":", "::", "0:", "x", "0::"}) {
    write("proc/self/cgroup", text);
    EXPECT_EQ(memory_allowance(root_).source, "the machine's memory") << text;
  }
}

}  // namespace
}  // namespace dslad::process
