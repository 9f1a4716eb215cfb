// Where the daemon listens unless told otherwise, and the variable by which clients are told.
#pragma once

namespace dslad::schema {

inline constexpr const char* kDefaultJobsUrl = "ipc:///run/dslad/jobs.sock";        // clients: DEALER or REQ
inline constexpr const char* kDefaultWorkersUrl = "ipc:///run/dslad/workers.sock";  // workers: DEALER
inline constexpr const char* kDefaultEventsUrl = "ipc:///run/dslad/events.sock";    // watchers: SUB
inline constexpr const char* kConnectVariable = "DSLAD_CONNECT";                    // overrides the jobs URL

}  // namespace dslad::schema
