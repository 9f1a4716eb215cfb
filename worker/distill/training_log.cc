#include "worker/distill/training_log.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <system_error>
#include <unistd.h>

namespace dslad::worker {
namespace {

Error failed(const std::filesystem::path& path, const char* what) {
  const int error = errno;
  return {error == ENOSPC ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable,
          fmt::format("{}: cannot {}: {}", path.string(), what, std::generic_category().message(error))};
}

}  // namespace

Result<TrainingLog> TrainingLog::open(const std::filesystem::path& path, std::int64_t bytes) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) return failed(path, "open");
  // Never longer than it is: what a power cut or a hand took away is missing, not zeros.
  const std::int64_t size = ::lseek(descriptor, 0, SEEK_END);
  bytes = std::min(bytes, size);
  if (size < 0 || ::ftruncate(descriptor, bytes) != 0 || ::lseek(descriptor, 0, SEEK_END) < 0) {
    Error error = failed(path, "cut back");
    ::close(descriptor);
    return error;
  }
  std::FILE* file = ::fdopen(descriptor, "w");
  if (file == nullptr) {
    Error error = failed(path, "open");
    ::close(descriptor);
    return error;
  }
  return TrainingLog(path, file, bytes);
}

std::int64_t TrainingLog::size(const std::filesystem::path& path) {
  std::error_code missing;
  const auto size = std::filesystem::file_size(path, missing);
  return missing ? 0 : static_cast<std::int64_t>(size);
}

Status TrainingLog::append(const nlohmann::ordered_json& line) {
  const std::string text = line.dump() + "\n";
  if (std::fwrite(text.data(), 1, text.size(), file_.get()) != text.size() || std::fflush(file_.get()) != 0) {
    return failed(path_, "write");
  }
  bytes_ += static_cast<std::int64_t>(text.size());
  return ok_status();
}

}  // namespace dslad::worker
