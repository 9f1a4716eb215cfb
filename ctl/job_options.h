// What a command line says of jobs besides their texts: options that every kind of submit takes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "ctl/terms.h"
#include "schema/client_messages.h"

namespace CLI {
class App;
}

namespace dslad::ctl {

struct JobOptions {
  schema::JobRequest model;  // what all jobs of this command line share
  TermsOptions terms;
  std::optional<std::uint64_t> expires_in_ms;  // absent: never
  std::string not_before;                      // a duration, or a time of day; empty: at once
  bool retry_failed = false;
};

// `options` must outlive the parsing.
void add_job_options(CLI::App& verb, JobOptions& options);

// The model with all that the options say. Errors: kInvalidArgument, naming the option.
Result<schema::JobRequest> read_job_options(const JobOptions& options);

}  // namespace dslad::ctl
