// What `dslactl status JOB` knows of a job: how it is, and on which plan it runs or would run.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "schema/client_messages.h"
#include "schema/policy_messages.h"

namespace dslad::ctl {

// A line of `status --json JOB`.
struct JobStatus {
  schema::JobInfo job;
  std::optional<std::uint32_t> plan;  // that it had, has, or would get now; absent: nobody can say yet
  std::optional<double> quality;      // of that, relative to plan 0
  std::string why;                    // it is that plan

  static void fields(auto& self, auto& field) {
    schema::JobInfo::fields(self.job, field);
    field("plan", self.plan);
    field("quality", self.quality);
    field("why", self.why);
  }
};

// A table as `list` has it, in the order given (list.cc).
std::string job_status_text(const std::vector<JobStatus>& jobs);

}  // namespace dslad::ctl
