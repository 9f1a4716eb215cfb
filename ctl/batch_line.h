// The lines that answer a batch's rows, in the form that the row had, and what they say of themselves. Pure;
// safe from any thread.
//
//   OpenAI's  {"id": "ID-JOB", "custom_id", "response": {"status_code": 200, "request_id", "body"}, "error":
//   null}
//             {"id": "ID-JOB", "custom_id", "response": null, "error": {"code", "message"}}
//   native    {"custom_id", "batch": "ID", and the keys of `result --json`}
//   bad rows  {"id": "ID-line-N", "custom_id" or null, "response": null, "error": {"code", "message", "line":
//   N}}
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ctl/batch_output.h"
#include "schema/client_messages.h"

namespace dslad::ctl {

// With a line break. The answers of plan 0 where the job asked for them and they are there.
std::string result_line(const std::string& batch, const schema::JobResult& result);
std::string bad_row_line(const std::string& batch, std::uint64_t line, const std::string& custom_id,
                         const Error& error);

// Keys of lines: a bad row is known by its place, because its custom_id may be another's or be missing.
std::string job_key(std::string_view custom_id);
std::string bad_row_key(std::uint64_t line);

// Of lines of this batch.
LineForm form_of(const std::string& batch);

// Whether the line is that of a job that did not succeed.
bool tells_of_failure(std::string_view line);

}  // namespace dslad::ctl
