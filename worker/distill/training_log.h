// What happened in each step of a run, one JSON object a line (docs/formats.md): appended as it happens, cut
// back to a checkpoint's length when a run goes on from it, so that no step stands there twice. Thread
// safety: none.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "base/result.h"

namespace dslad::worker {

class TrainingLog {
 public:
  // Opens or creates `path` and cuts it to `bytes`. Errors: kUnavailable, kResourceExhausted.
  static Result<TrainingLog> open(const std::filesystem::path& path, std::int64_t bytes);

  // Of the file, in bytes; 0 where there is none.
  static std::int64_t size(const std::filesystem::path& path);

  Status append(const nlohmann::ordered_json& line);
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  TrainingLog(std::filesystem::path path, std::FILE* file, std::int64_t bytes)
      : path_(std::move(path)), file_(file), bytes_(bytes) {}

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::int64_t bytes_;
};

}  // namespace dslad::worker
