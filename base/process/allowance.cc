#include "base/process/allowance.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <optional>
#include <sched.h>
#include <sstream>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <vector>

namespace dslad::process {
namespace {

namespace fs = std::filesystem;

// Control groups nest a few levels; a path of more is not one.
constexpr int kMostLevels = 64;

// The folder of the process's group and those above it, down to the hierarchy's root. `controller`: of
// version 1, or empty for version 2. A container may show a path that is not there from within: then those
// above it count.
std::vector<fs::path> group_folders(const fs::path& root, std::string_view controller) {
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/path" or "4:cpu,cpuacct:/path"
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool ours = controller.empty()
                          ? names == ",,"
                          : names.find("," + std::string(controller) + ",") != std::string::npos;
    if (!ours) continue;
    const fs::path mount = root / "sys/fs/cgroup" / controller;
    fs::path path = fs::path(line.substr(second + 1)).lexically_normal().relative_path();
    std::vector<fs::path> folders;
    for (int level = 0; level < kMostLevels && !path.empty() && *path.begin() != ".."; ++level) {
      folders.push_back(mount / path);
      path = path.parent_path();
    }
    folders.push_back(mount);
    return folders;
  }
  return {};
}

// Words of a file's first line; none where it cannot be read.
std::vector<std::string> words_of(const fs::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  std::istringstream text(line);
  std::vector<std::string> words;
  for (std::string word; words.size() < 4 && text >> word;) words.push_back(word);
  return words;
}

std::optional<std::uint64_t> number(const std::string& word) {
  std::uint64_t value = 0;
  const auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (code != std::errc() || end != word.data() + word.size() || value == 0) return std::nullopt;
  return value;
}

void limit_by(const fs::path& file, MemoryAllowance& allowance) {
  const std::vector<std::string> words = words_of(file);
  if (words.size() != 1) return;
  const std::optional<std::uint64_t> bytes = number(words.front());  // none for "max"
  if (!bytes || *bytes >= allowance.bytes) return;
  allowance = {static_cast<std::size_t>(*bytes), file.string()};
}

// Microseconds of processor time in each period.
void limit_by(std::optional<std::uint64_t> quota, std::optional<std::uint64_t> period, int& processors) {
  if (!quota || !period) return;
  const std::uint64_t allowed = *quota / *period + (*quota % *period != 0 ? 1 : 0);
  if (allowed < static_cast<std::uint64_t>(processors)) processors = static_cast<int>(allowed);
}

int processors_by_affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));  // more than a set can hold
}

}  // namespace

MemoryAllowance memory_allowance(const fs::path& root) {
  MemoryAllowance allowance{static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) *
                                static_cast<std::size_t>(::sysconf(_SC_PAGE_SIZE)),
                            "the machine's memory"};
  for (const fs::path& folder : group_folders(root, "")) {
    limit_by(folder / "memory.max", allowance);
    limit_by(folder / "memory.high", allowance);
  }
  for (const fs::path& folder : group_folders(root, "memory"))
    limit_by(folder / "memory.limit_in_bytes", allowance);
  return allowance;
}

int processor_allowance(const fs::path& root) {
  int processors = processors_by_affinity();
  for (const fs::path& folder : group_folders(root, "")) {
    const std::vector<std::string> words = words_of(folder / "cpu.max");
    if (words.size() == 2) limit_by(number(words[0]), number(words[1]), processors);
  }
  for (const fs::path& folder : group_folders(root, "cpu")) {
    const std::vector<std::string> quota = words_of(folder / "cpu.cfs_quota_us");  // -1: none
    const std::vector<std::string> period = words_of(folder / "cpu.cfs_period_us");
    if (quota.size() == 1 && period.size() == 1) limit_by(number(quota[0]), number(period[0]), processors);
  }
  return std::max(1, processors);
}

}  // namespace dslad::process
