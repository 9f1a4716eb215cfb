// What `dslactl top` knows at one moment: the daemon's latest answers, and how long ago they came.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ctl/throughput.h"
#include "schema/client_messages.h"
#include "schema/policy_messages.h"

namespace dslad::ctl {

struct TopView {
  std::int64_t time_ms = 0;
  std::string url;
  std::optional<std::string> error;            // why this time no answer came
  std::uint64_t silent_ms = 0;                 // with an error: since the last answer, or the start
  std::optional<schema::DaemonStatus> status;  // absent: the daemon has never answered
  std::optional<schema::JobInfo> oldest;       // of the jobs that wait, as far as it is known
  std::optional<Rates> rates;
  std::optional<schema::PolicyReply> policy;
  std::vector<schema::ModelLayers> models;
  std::vector<schema::JobInfo> running;  // newest first

  static void fields(auto& self, auto& field) {
    field("time_ms", self.time_ms);
    field("url", self.url);
    field("error", self.error);
    field("silent_ms", self.silent_ms);
    field("status", self.status);
    field("oldest", self.oldest);
    field("rates", self.rates);
    field("policy", self.policy);
    field("models", self.models);
    field("running", self.running);
  }
};

}  // namespace dslad::ctl
