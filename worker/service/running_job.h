// A job that the engine works on: its requests, and what all of them have cost so far.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "schema/reports.h"
#include "worker/engine/request.h"
#include "worker/tasks/job_requests.h"

namespace dslad::worker {

struct RunningJob {
  RunningJob(schema::Lease its_lease, JobRequests its_requests, std::shared_ptr<const Plan> its_plan)
      : lease(its_lease), requests(std::move(its_requests)), plan(std::move(its_plan)) {}

  schema::Lease lease;
  JobRequests requests;
  std::shared_ptr<const Plan> plan;
  std::string text;                                // what is wanted of its own once it is answered
  bool begun = false;                              // the engine has begun a request of it
  std::map<RequestId, RequestProgress> under_way;  // of these, in the engine
  RequestProgress ended;                           // requests that have ended, together
  RequestTimes times;                              // of those
  std::optional<Error> failure;                    // of one of them
  // Wall time, which the times of requests that run side by side do not add up to: of the steps that
  // processed a part of its prompts, and of those that only wrote answers.
  double prefill_ms = 0, decode_ms = 0;

  void note(RequestId id, const RequestProgress& progress);
  void end(RequestId id, const RequestProgress& progress, const RequestTimes& spent);
  // A step has ended, all of whose progress is noted.
  void spend(double step_ms);
  // Of all requests, those that are still to come included as far as they are known.
  [[nodiscard]] RequestProgress progress() const;

 private:
  bool prefills_ = false, decodes_ = false;  // in the step
};

}  // namespace dslad::worker
