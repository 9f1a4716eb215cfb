// What of the machine this process may use: less than all of it where a service manager or a container says
// so.
//
// A limit that cannot be read is none. Safe from any thread.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace dslad::process {

struct MemoryAllowance {
  std::size_t bytes = 0;
  std::string source;  // what sets it: a file of the control group, or "the machine's memory"
};

// The least of the machine's memory and what memory.max and memory.high (version 1: memory.limit_in_bytes) of
// the process's control group and those above it allow. `root`: where /proc and /sys are.
MemoryAllowance memory_allowance(const std::filesystem::path& root = "/");

// Processors that it may keep busy, at least 1: by its affinity and by the quotas of its control groups
// (cpu.max; version 1: cpu.cfs_quota_us), a part counted as one.
int processor_allowance(const std::filesystem::path& root = "/");

}  // namespace dslad::process
