// Jobs that were answered on another plan and are run again on plan 0 when there is nothing else to do: as
// upgrades, where the job asked for it, and as canaries, to see what its plan is worth. Runs inside the
// caller's transaction.
//
// A rerun is a row of its own among the jobs, with leases and attempts like theirs, so that it survives what
// they survive. It has no texts of its own, and nobody sees it but through the job that it repeats.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "daemon/store/leases.h"
#include "daemon/store/sqlite.h"
#include "schema/reports.h"

namespace dslad::daemon {

// A user's job has succeeded: notes whether it is to be run again. `canary_share`: of the jobs that were
// answered greedily; which ones follows from their ids.
Status want_rerun(Database& db, schema::JobId job, double canary_share);

// Leases the next rerun of jobs that this very model answered, upgrades first; nothing where none is wanted.
// `damaged` as claim()'s: the job that would be run again.
Result<std::optional<Claimed>> claim_rerun(Database& db, const Claimant& claimant, std::int64_t now_ms,
                                           std::optional<Unreadable>* damaged = nullptr);

// The rerun has succeeded: records how far the job's answers agree with its own.
Status end_rerun(Database& db, schema::JobId rerun, std::int64_t now_ms);

// By model, edition and plan: the mean of the latest `jobs` comparisons. `withdrawn` is left to the caller.
Result<std::vector<schema::PlanAgreement>> plan_agreements(Database& db, std::uint32_t jobs);

}  // namespace dslad::daemon
