// The rows that every transition of a job writes. Of the store's own; jobs move by leases.h and job_writes.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "daemon/store/sqlite.h"
#include "schema/job.h"
#include "schema/reports.h"

namespace dslad::daemon {

// Closes the attempt that the lease stands for.
Status end_attempt(Database& db, const schema::Lease& lease, std::string_view outcome,
                   const std::optional<Error>& error, std::int64_t now_ms);

// Where a job goes, and what it takes with it.
struct Move {
  schema::JobState state = schema::JobState::kQueued;
  bool failed_attempt = false;
  std::optional<Error> error = std::nullopt;                 // the latest attempt's; none after a success
  std::optional<std::int64_t> not_before_ms = std::nullopt;  // until then it waits, though queued
  bool suspect = false;                                      // from now on; a suspect remains one
};
Status move_job(Database& db, schema::JobId id, const Move& move, std::int64_t now_ms);

}  // namespace dslad::daemon
