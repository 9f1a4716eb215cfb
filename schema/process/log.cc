#include "schema/process/log.h"

#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <memory>
#include <mutex>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

namespace dslad::process {
namespace {

// stderr is the journal's own stream: JOURNAL_STREAM names its device and inode (systemd.exec(5)).
bool stderr_is_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  unsigned long long device = 0, inode = 0;
  if (stream == nullptr || std::sscanf(stream, "%llu:%llu", &device, &inode) != 2) return false;
  struct stat status {};
  return fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device && status.st_ino == inode;
}

int syslog_priority(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::critical:
      return 2;
    case spdlog::level::err:
      return 3;
    case spdlog::level::warn:
      return 4;
    case spdlog::level::info:
      return 6;
    default:
      return 7;
  }
}

class JournalSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const std::string text(message.payload.data(), message.payload.size());
    const std::string program(message.logger_name.data(), message.logger_name.size());
    sd_journal_send("MESSAGE=%s", text.c_str(), "PRIORITY=%i", syslog_priority(message.level),
                    "SYSLOG_IDENTIFIER=%s", program.c_str(), nullptr);
  }
  void flush_() override {}
};

}  // namespace

void start_logging(const std::string& program, const std::string& level) {
  std::shared_ptr<spdlog::logger> logger;
  if (stderr_is_journal()) {
    logger = std::make_shared<spdlog::logger>(program, std::make_shared<JournalSink>());
  } else {
    logger =
        std::make_shared<spdlog::logger>(program, std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %n %^%l%$ %v");
  }
  const auto parsed = spdlog::level::from_str(level);
  logger->set_level(parsed == spdlog::level::off && level != "off" ? spdlog::level::info : parsed);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void log_job(std::int64_t job, std::uint32_t attempt, const std::string& text) {
  const auto& logger = *spdlog::default_logger();
  const std::string message = fmt::format("job {} attempt {}: {}", job, attempt, text);
  if (!stderr_is_journal()) return spdlog::info(message);
  if (!logger.should_log(spdlog::level::info)) return;
  sd_journal_send("MESSAGE=%s", message.c_str(), "PRIORITY=%i", syslog_priority(spdlog::level::info),
                  "SYSLOG_IDENTIFIER=%s", logger.name().c_str(), "DSLAD_JOB_ID=%lld",
                  static_cast<long long>(job), "DSLAD_ATTEMPT=%u", attempt, nullptr);
}

}  // namespace dslad::process
