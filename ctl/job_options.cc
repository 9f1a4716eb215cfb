#include "ctl/job_options.h"

#include <CLI/CLI.hpp>

#include "ctl/amount.h"
#include "ctl/format.h"
#include "ctl/input.h"

namespace dslad::ctl {

void add_job_options(CLI::App& verb, JobOptions& options) {
  schema::JobRequest& model = options.model;
  schema::SamplingOptions& sampling = model.spec.options;
  verb.add_option("--max-tokens", sampling.max_tokens, "Most tokens of each answer")->capture_default_str();
  verb.add_option("--temperature", sampling.temperature, "0 takes the likeliest token")
      ->capture_default_str();
  verb.add_option("--top-p", sampling.top_p, "Draw among the likeliest tokens of this total probability")
      ->capture_default_str();
  verb.add_option("--seed", sampling.seed, "Of the draws at a temperature above 0")->capture_default_str();
  verb.add_option("--priority", model.priority, "Higher runs first; ties by arrival")->capture_default_str();
  verb.add_option("--max-attempts", model.max_attempts,
                  "Times the job may break its worker or fail; 0: as configured")
      ->capture_default_str();
  verb.add_flag("--retry-failed", options.retry_failed,
                "Jobs known by their keys that failed, were cancelled or have expired run again");
  verb.add_option("--label", model.labels, "A word to find the job by; may be given several times")
      ->take_all()
      ->allow_extra_args(false);
  verb.add_option("--not-before", options.not_before, "Begin no earlier: in 90s, 10m, 2h, 1d, or at 22:30")
      ->type_name("TIME");
  add_terms(verb, options.terms);
  add_duration(verb, "--expires-in", options.expires_in_ms,
               "Give the job up after this time, also while it runs: 90s, 10m, 2h, 1d");
}

Result<schema::JobRequest> read_job_options(const JobOptions& options) {
  schema::JobRequest model = options.model;
  model.expires_in_ms = options.expires_in_ms.value_or(0);
  Result<schema::JobTerms> terms = read_terms(options.terms);
  if (!terms) return terms.error();
  model.terms = std::move(*terms);
  for (const std::string& label : model.labels) {
    if (Status status = check_utf8("--label", label); !status) return status.error();
  }
  if (options.not_before.empty()) return model;
  const Result<std::uint64_t> start_in_ms = parse_moment(options.not_before, wall_ms());
  if (!start_in_ms) return start_in_ms.error().with_context("--not-before");
  model.start_in_ms = *start_in_ms;
  return model;
}

}  // namespace dslad::ctl
