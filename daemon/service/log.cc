#include "daemon/service/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <atomic>
#include <cstdlib>
#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <unistd.h>
#include <vector>

namespace dslad::daemon::log {
namespace {

constexpr std::int64_t kQuietMs = 5'000;

std::atomic<Level> least{Level::kInfo};

// systemd names the journal's socket in JOURNAL_STREAM as device:inode; stderr may have been sent elsewhere
// since.
bool stderr_is_journal() {
  const char* stream =
      std::getenv("JOURNAL_STREAM");  // NOLINT(concurrency-mt-unsafe): read before threads start
  struct stat status {};
  if (stream == nullptr || ::fstat(STDERR_FILENO, &status) != 0) return false;
  return fmt::format("{}:{}", status.st_dev, status.st_ino) == stream;
}

bool to_journal() {
  static const bool kJournal = stderr_is_journal();
  return kJournal;
}

int priority_of(Level level) {
  switch (level) {
    case Level::kDebug:
      return LOG_DEBUG;
    case Level::kInfo:
      return LOG_INFO;
    case Level::kWarning:
      return LOG_WARNING;
    case Level::kError:
      return LOG_ERR;
  }
  return LOG_INFO;
}

void write_journal(Level level, std::string_view message, std::initializer_list<Field> fields) {
  std::vector<std::string> entries = {fmt::format("MESSAGE={}", message),
                                      fmt::format("PRIORITY={}", priority_of(level)),
                                      "SYSLOG_IDENTIFIER=dslad"};
  for (const Field& field : fields) entries.push_back(fmt::format("DSLAD_{}={}", field.name, field.value));
  std::vector<iovec> parts;
  for (std::string& entry : entries) parts.push_back({entry.data(), entry.size()});
  sd_journal_sendv(parts.data(), static_cast<int>(parts.size()));  // nowhere to report a failure to
}

std::shared_ptr<spdlog::logger> text_logger() {
  static const std::shared_ptr<spdlog::logger> kLogger = [] {
    auto logger = spdlog::stderr_color_mt("dslad");
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
    logger->set_level(spdlog::level::trace);
    return logger;
  }();
  return kLogger;
}

void write_text(Level level, std::string_view message, std::initializer_list<Field> fields) {
  std::string line(message);
  for (const Field& field : fields) line += fmt::format(" {}={}", field.name, field.value);
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                   spdlog::level::warn, spdlog::level::err};
  text_logger()->log(kLevels[static_cast<std::size_t>(level)], "{}", line);
}

}  // namespace

void start(Level level) {
  least = level;
  if (!to_journal()) text_logger();
}

void write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (level < least.load(std::memory_order_relaxed)) return;
  if (to_journal()) {
    write_journal(level, message, fields);
  } else {
    write_text(level, message, fields);
  }
}

void Limited::warning(std::string_view message, std::int64_t steady_ms) {
  ++count_;
  if (steady_ms < next_ms_) {
    ++left_out_;
    return;
  }
  next_ms_ = steady_ms + kQuietMs;
  if (left_out_ == 0) {
    log::warning(message);
  } else {
    log::warning(fmt::format("{} (and {} more like it)", message, left_out_));
  }
  left_out_ = 0;
}

}  // namespace dslad::daemon::log
