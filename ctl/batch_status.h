// A batch as OpenAI's interface shows one, made from the number of its jobs by state. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "ctl/verb.h"
#include "schema/client_messages.h"

namespace dslad::ctl {

struct RequestCounts {
  std::uint64_t total = 0;
  std::uint64_t completed = 0;
  std::uint64_t failed = 0;  // that ended without a result, for whatever reason

  static void fields(auto& self, auto& field) {
    field("total", self.total);
    field("completed", self.completed);
    field("failed", self.failed);
  }
};

// Times are seconds since the epoch, as OpenAI has them.
struct BatchObject {
  std::string id;
  std::string object = "batch";
  std::string status;  // in_progress, completed, failed, cancelled, expired
  std::int64_t created_at = 0;
  std::optional<std::int64_t> completed_at, failed_at, cancelled_at, expired_at;
  RequestCounts request_counts;
  std::map<std::string, std::uint64_t> jobs;  // by state

  static void fields(auto& self, auto& field) {
    field("id", self.id);
    field("object", self.object);
    field("status", self.status);
    field("created_at", self.created_at);
    field("completed_at", self.completed_at);
    field("failed_at", self.failed_at);
    field("cancelled_at", self.cancelled_at);
    field("expired_at", self.expired_at);
    field("request_counts", self.request_counts);
    field("jobs", self.jobs);
  }
};

BatchObject batch_object(const std::string& id, const schema::JobCounts& counts);
std::string batch_text(const BatchObject& batch);  // lines for people

// Jobs that have not ended.
std::uint64_t open_jobs(const schema::JobCounts& counts);

// kOk where all that has ended succeeded.
Exit exit_of(const BatchObject& batch);

// Errors: kNotFound where no job has this label, with the remedy.
Status check_known(const std::string& id, const schema::JobCounts& counts);

}  // namespace dslad::ctl
