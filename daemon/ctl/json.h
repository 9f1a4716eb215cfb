// Messages as one line of JSON for --json. Keys and words are those of the wire (docs/protocol.md); optional
// members without a value are left out. Pure; safe from any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "schema/client_messages.h"

namespace dslad::daemon::ctl {

// A line of `submit --json`.
struct SubmittedJob {
  schema::JobId id = 0;
  std::optional<bool> duplicate;               // true: the idempotency key was known, this is the first job
  std::optional<std::int64_t> finish_ms = {};  // when it is expected to end; absent: nothing is known

  static void fields(auto& self, auto& field) {
    field("id", self.id);
    field("duplicate", self.duplicate);
    field("finish_ms", self.finish_ms);
  }
};

// A line of `result --json`.
struct JobOutcome {
  const schema::JobResult& result;

  static void fields(auto& self, auto& field) {
    field("id", self.result.job.id);
    field("custom_id", self.result.job.custom_id);
    field("state", self.result.job.state);
    field("task", self.result.job.task);
    field("error", self.result.job.error);
    field("outputs", self.result.outputs);
    field("metrics", self.result.metrics);
    field("rerun", self.result.rerun);
  }
};

// Instantiated in json.cc for what the verbs print. The line ends with a line break.
template <typename Message>
std::string to_json(const Message& message);

}  // namespace dslad::daemon::ctl
