// Where the daemon listens unless told otherwise, and the variable by which clients are told.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace dslad::schema {

inline constexpr const char* kDefaultJobsUrl = "ipc:///run/dslad/jobs.sock";        // clients: DEALER or REQ
inline constexpr const char* kDefaultWorkersUrl = "ipc:///run/dslad/workers.sock";  // workers: DEALER
inline constexpr const char* kDefaultEventsUrl = "ipc:///run/dslad/events.sock";    // watchers: SUB
inline constexpr const char* kConnectVariable = "DSLAD_CONNECT";                    // overrides the jobs URL

// A setting of the daemon may name several, separated by commas: one to a local socket, say, and
// one on tcp. In the order written, without empty ones.
std::vector<std::string> split_urls(std::string_view list);
inline constexpr std::size_t kMostUrls = 16;  // that one may name

inline bool is_tcp(std::string_view url) {
  return url.starts_with("tcp://");
}

}  // namespace dslad::schema
