#include "ctl/batch_sink.h"

#include "ctl/batch_line.h"

namespace dslad::ctl {

Result<BatchSink> BatchSink::open(const std::string& batch, const std::string& output,
                                  const std::string& errors) {
  if (!output.empty() && output == errors)
    return invalid_argument("--output and --errors name one file; leave --errors out to have all in it");
  BatchSink sink(batch);
  const auto open_one = [&batch](const std::string& path, std::optional<BatchOutput>& file) {
    if (path.empty()) return ok_status();
    Result<BatchOutput> opened = BatchOutput::open(path, form_of(batch));
    if (!opened) return Status(opened.error());
    file.emplace(std::move(opened).value());
    return ok_status();
  };
  if (Status status = open_one(output, sink.output_); !status) return status.error();
  if (Status status = open_one(errors, sink.errors_); !status) return status.error();
  return sink;
}

BatchOutput* BatchSink::for_errors() {
  if (errors_) return &*errors_;
  return output_ ? &*output_ : nullptr;
}

bool BatchSink::has_job(const std::string& custom_id) const {
  const std::string key = job_key(custom_id);
  return (output_ && output_->has(key)) || (errors_ && errors_->has(key));
}

Status BatchSink::add_result(const schema::JobResult& result) {
  if (has_job(result.job.custom_id)) return ok_status();
  const bool succeeded = result.job.state == schema::JobState::kSucceeded;
  BatchOutput* file = succeeded && output_ ? &*output_ : for_errors();
  if (file == nullptr || (succeeded && !output_)) return ok_status();
  return file->append(job_key(result.job.custom_id), result_line(batch_, result));
}

Status BatchSink::add_bad_row(std::uint64_t line, const std::string& custom_id, const Error& error) {
  BatchOutput* file = for_errors();
  if (file == nullptr) return ok_status();
  return file->append(bad_row_key(line), bad_row_line(batch_, line, custom_id, error));
}

Status BatchSink::sync() {
  for (std::optional<BatchOutput>* file : {&output_, &errors_}) {
    if (!*file) continue;
    if (Status status = (*file)->sync(); !status) return status;
  }
  return ok_status();
}

Status BatchSink::forget_failures() {
  const auto keep = [](std::string_view line) { return !tells_of_failure(line); };
  for (std::optional<BatchOutput>* file : {&output_, &errors_}) {
    if (!*file) continue;
    if (Status status = (*file)->retain(keep, form_of(batch_)); !status) return status;
  }
  return ok_status();
}

}  // namespace dslad::ctl
