// A job that the engine works on: its requests, and what all of them have cost so far.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "schema/reports.h"
#include "worker/engine/request.h"
#include "worker/tasks/task.h"

namespace dslad::worker {

struct RunningJob {
  schema::Lease lease;
  Task task;
  std::shared_ptr<const Plan> plan;
  bool begun = false;                             // the engine has begun a request of it
  std::map<RequestId, RequestProgress> requests;  // in the engine
  RequestProgress ended;                          // requests that have ended, together
  RequestTimes times;                             // of those
  std::optional<Error> failure;                   // of one of them

  void end(RequestId id, const RequestProgress& progress, const RequestTimes& spent);
  // Of all requests, those that are still to come included as far as they are known.
  [[nodiscard]] RequestProgress progress() const;
};

}  // namespace dslad::worker
