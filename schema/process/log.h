// Where a process logs: to journald with fields when systemd runs it, else to stderr.
//
// Everything logs through spdlog's default logger. Fields of a job (JOB_ID, ATTEMPT) let people ask the
// journal for one job: journalctl DSLAD_JOB_ID=17.
#pragma once

#include <cstdint>
#include <string>

namespace dslad::process {

// Sets the default logger up. `level` is one of spdlog's names (trace, debug, info, warning, error); an
// unknown name means info. Call once, before other threads start.
void start_logging(const std::string& program, const std::string& level);

// An info line about a job; under journald with the fields DSLAD_JOB_ID and DSLAD_ATTEMPT.
void log_job(std::int64_t job, std::uint32_t attempt, const std::string& text);

}  // namespace dslad::process
