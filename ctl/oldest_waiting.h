// Which job has waited longest. The daemon lists the newest first, so the oldest is searched by halves
// between the newest and what is known to be empty, a few questions a look, and remembered from look to look.
// Not thread-safe.
#pragma once

#include <functional>
#include <optional>

#include "base/result.h"
#include "schema/client_messages.h"

namespace dslad::ctl {

class OldestWaiting {
 public:
  using List = std::function<Result<schema::JobList>(const schema::ListJobs&)>;
  static constexpr int kQuestions = 12;  // at most, a look

  // The oldest queued job as far as that many questions tell; the next look comes closer. nullopt: none
  // waits. Errors: as `list`.
  Result<std::optional<schema::JobInfo>> look(const List& list);

 private:
  std::optional<schema::JobInfo> known_;  // a job that waited at the last look, the oldest so far
  schema::JobId empty_to_ = 0;            // no job up to this one waits
};

}  // namespace dslad::ctl
