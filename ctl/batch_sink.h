// Where a batch's lines go: results to one file, what failed to another where one is named, else to the same.
// One user at a time. Errors: as BatchOutput.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ctl/batch_output.h"
#include "schema/client_messages.h"

namespace dslad::ctl {

class BatchSink {
 public:
  // Empty names stand for no file.
  static Result<BatchSink> open(const std::string& batch, const std::string& output,
                                const std::string& errors);

  [[nodiscard]] bool has_job(const std::string& custom_id) const;

  // What was added before is not added again.
  Status add_result(const schema::JobResult& result);
  Status add_bad_row(std::uint64_t line, const std::string& custom_id, const Error& error);

  // All that was added is on disk when it returns.
  Status sync();

  // For jobs that run again: lines of jobs that did not succeed are dropped.
  Status forget_failures();

 private:
  explicit BatchSink(std::string batch) : batch_(std::move(batch)) {}
  BatchOutput* for_errors();

  std::string batch_;
  std::optional<BatchOutput> output_;
  std::optional<BatchOutput> errors_;
};

}  // namespace dslad::ctl
