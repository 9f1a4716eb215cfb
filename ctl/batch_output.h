// A file of lines that grows as results come and survives any death of who writes it: what sync() has
// returned for is on disk, a line that was cut by a death is removed at the next open(), and what is there
// already is known by its key, so that nothing is written twice. A lock keeps a second writer out; the kernel
// frees it however the first one ended. One user at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "base/digest.h"
#include "base/result.h"

namespace dslad::ctl {

// What its lines are.
struct LineForm {
  // The key of a line that is there. Errors: it is none of these lines, and why.
  std::function<Result<std::string>(std::string_view line)> key_of;
  // Whether a line could begin so: what could not was not cut by a death, and is left alone.
  std::function<bool(std::string_view beginning)> begins;
};

class BatchOutput {
 public:
  // Makes the file where there is none, else reads it. Errors: kInvalidArgument, naming the file and the
  // remedy: not writable, locked, lines of another batch or of something else.
  static Result<BatchOutput> open(const std::string& path, const LineForm& form);

  BatchOutput(BatchOutput&& other) noexcept;
  BatchOutput& operator=(BatchOutput&&) = delete;
  ~BatchOutput();

  [[nodiscard]] bool has(std::string_view key) const { return keys_.contains(hash_of(key)); }
  [[nodiscard]] std::size_t lines() const { return keys_.size(); }

  // Adds a line, unless its key is there. It may be kept in memory until sync(). `line` ends with its break.
  Status append(std::string_view key, std::string_view line);

  // All lines are on disk when it returns.
  Status sync();

  // Leaves only the lines that `keep` is true for. A death on the way leaves all of them.
  Status retain(const std::function<bool(std::string_view line)>& keep, const LineForm& form);

 private:
  explicit BatchOutput(std::string path) : path_(std::move(path)) {}
  Status lock();
  Status load(const LineForm& form);
  Status cut(std::uint64_t bytes);
  Status write(std::string_view bytes);
  [[nodiscard]] Error failed(std::string_view what, int error) const;

  int descriptor_ = -1;
  std::string path_;
  std::string pending_;  // lines that are not written yet
  std::unordered_set<Hash> keys_;
};

}  // namespace dslad::ctl
