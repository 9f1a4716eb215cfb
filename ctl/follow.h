// Waits for jobs and reports each as it ends. A daemon that restarts meanwhile is waited for; Ctrl-C ends the
// waiting, never the jobs.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "ctl/client.h"
#include "ctl/verb.h"
#include "schema/client_messages.h"

namespace dslad::ctl {

struct FollowOptions {
  std::optional<std::chrono::milliseconds> timeout;  // none: until all have ended
  bool quiet = false;                                // no progress
  std::function<Status(Client&, const schema::JobInfo&)>
      ended;  // called once a job, in the order of their ends
};

// kOk where all succeeded; kJobFailed where one did not, or has not ended in time; kInterrupted.
Result<Exit> follow(const Globals& globals, Client& client, std::vector<schema::JobId> ids,
                    const FollowOptions& options);

}  // namespace dslad::ctl
