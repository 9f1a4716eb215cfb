// Where a process logs: to journald with fields when systemd runs it, else to stderr.
//
// Everything logs through spdlog's default logger. Fields of a job (JOB_ID, ATTEMPT) let people ask the
// journal for one job: journalctl DSLAD_JOB_ID=17. Safe from any thread once started.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/process/known_message.h"

namespace dslad::process {

// Sets the default logger up. `level` is one of spdlog's names (trace, debug, info, warning, error); an
// unknown name means info. Call once, before other threads start.
void start_logging(const std::string& program, const std::string& level);

// Another level from now on, as above.
void set_log_level(const std::string& level);

// A name in upper case (JOB_ID, WORKER, ERROR_CODE); the journal gets it with DSLAD_ before it, text gets
// it as NAME=value behind the message.
struct Field {
  std::string_view name;
  std::string value;
};

void log_info(std::string_view message, std::initializer_list<Field> fields = {});
void log_warning(std::string_view message, std::initializer_list<Field> fields = {});
void log_error(std::string_view message, std::initializer_list<Field> fields = {});

// The same; the journal gets the message's MESSAGE_ID.
void log_info(KnownMessage known, std::string_view message, std::initializer_list<Field> fields = {});
void log_warning(KnownMessage known, std::string_view message, std::initializer_list<Field> fields = {});
void log_error(KnownMessage known, std::string_view message, std::initializer_list<Field> fields = {});

// An info line about a job; under journald with the fields DSLAD_JOB_ID and DSLAD_ATTEMPT.
void log_job(std::int64_t job, std::uint32_t attempt, const std::string& text);

}  // namespace dslad::process
