#include "base/process/log.h"

#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <memory>
#include <mutex>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>
#include <vector>

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

void send_to_journal(spdlog::level::level_enum level, KnownMessage known, std::string_view message,
                     std::initializer_list<Field> fields) {
  std::vector<std::string> entries = {fmt::format("MESSAGE={}", message),
                                      fmt::format("PRIORITY={}", syslog_priority(level)),
                                      fmt::format("SYSLOG_IDENTIFIER={}", spdlog::default_logger()->name())};
  if (!known.id.empty()) entries.push_back(fmt::format("MESSAGE_ID={}", known.id));
  for (const Field& field : fields) entries.push_back(fmt::format("DSLAD_{}={}", field.name, field.value));
  std::vector<iovec> parts;
  parts.reserve(entries.size());
  for (std::string& entry : entries) parts.push_back({entry.data(), entry.size()});
  sd_journal_sendv(parts.data(), static_cast<int>(parts.size()));  // there is nowhere to report a failure to
}

void write(spdlog::level::level_enum level, KnownMessage known, std::string_view message,
           std::initializer_list<Field> fields) {
  spdlog::logger& logger = *spdlog::default_logger();
  if (!logger.should_log(level)) return;
  if (stderr_is_journal()) return send_to_journal(level, known, message, fields);
  std::string line(message);
  for (const Field& field : fields) line += fmt::format(" {}={}", field.name, field.value);
  logger.log(level, "{}", line);
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

spdlog::level::level_enum level_named(const std::string& name) {
  const auto parsed = spdlog::level::from_str(name);
  return parsed == spdlog::level::off && name != "off" ? spdlog::level::info : parsed;
}

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
  logger->set_level(level_named(level));
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void set_log_level(const std::string& level) {
  spdlog::default_logger_raw()->set_level(level_named(level));
}

void log_info(std::string_view message, std::initializer_list<Field> fields) {
  write(spdlog::level::info, {}, message, fields);
}

void log_info(KnownMessage known, std::string_view message, std::initializer_list<Field> fields) {
  write(spdlog::level::info, known, message, fields);
}

void log_warning(std::string_view message, std::initializer_list<Field> fields) {
  write(spdlog::level::warn, {}, message, fields);
}

void log_warning(KnownMessage known, std::string_view message, std::initializer_list<Field> fields) {
  write(spdlog::level::warn, known, message, fields);
}

void log_error(std::string_view message, std::initializer_list<Field> fields) {
  write(spdlog::level::err, {}, message, fields);
}

void log_error(KnownMessage known, std::string_view message, std::initializer_list<Field> fields) {
  write(spdlog::level::err, known, message, fields);
}

void log_job(std::int64_t job, std::uint32_t attempt, const std::string& text) {
  log_info(text, {{"JOB_ID", std::to_string(job)}, {"ATTEMPT", std::to_string(attempt)}});
}

}  // namespace dslad::process
