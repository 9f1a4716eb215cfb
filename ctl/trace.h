// A trace of jobs for `policy simulate`: a CSV file whose header names its columns, in any order.
//
//   arrived_s                                           seconds; or arrived_at (Vidur), TIMESTAMP (Azure's)
//   bytes                                               of a job's texts; or its prompt's tokens:
//                                                       prompt_tokens, ContextTokens, num_prefill_tokens
//   max_tokens                                          of each answer; or the tokens of all its answers:
//                                                       output_tokens, GeneratedTokens, num_decode_tokens
//   questions, client, model, deadline_s, min_quality, max_plan, priority
//                                                       may be absent, and their fields empty
//
// Errors: kInvalidArgument, naming file, line, value and remedy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <istream>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace dslad::ctl {

struct TraceJob {
  double arrived_s = 0;             // after the first job of the trace
  std::uint64_t bytes = 0;          // of document, prompt and questions; 0: prompt_tokens has its size
  std::uint64_t prompt_tokens = 0;  // 0: bytes has its size
  std::uint32_t max_tokens = 0;     // of each answer; 0: output_tokens has their length
  std::uint64_t output_tokens = 0;  // of all answers
  std::uint32_t questions = 0;
  std::string client;
  std::string model;                         // name or digest of who must answer; empty: any
  std::optional<std::uint64_t> deadline_ms;  // after its arrival
  std::optional<double> min_quality;
  std::optional<std::uint32_t> max_plan;
  std::int32_t priority = 0;
};

inline constexpr std::size_t kMostTraceJobs = 1'000'000;

// At least one job, at most `limit` of them: the first of the file, in its order.
Result<std::vector<TraceJob>> read_trace(std::istream& in, const std::string& name, std::size_t limit);

// Of a file, or of standard input as "-".
Result<std::vector<TraceJob>> read_trace_file(const std::string& file, std::size_t limit);

}  // namespace dslad::ctl
