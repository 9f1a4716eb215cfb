#include "worker/service/running_job.h"

namespace dslad::worker {

void RunningJob::note(RequestId id, const RequestProgress& progress) {
  RequestProgress& known = under_way.at(id);
  prefills_ = prefills_ || progress.prompt_done > known.prompt_done;
  decodes_ = decodes_ || progress.output_tokens > known.output_tokens;
  known = progress;
}

void RunningJob::end(RequestId id, const RequestProgress& progress, const RequestTimes& spent) {
  note(id, progress);
  decodes_ = true;  // the token that ends an answer is not part of it
  under_way.erase(id);
  ended += progress;
  times += spent;
}

void RunningJob::spend(double step_ms) {
  if (prefills_ || decodes_) (prefills_ ? prefill_ms : decode_ms) += step_ms;
  prefills_ = decodes_ = false;
}

RequestProgress RunningJob::progress() const {
  RequestProgress all = ended;
  for (const auto& [id, progress] : under_way) all += progress;
  all.prompt_total += requests.tokens_to_come();
  return all;
}

}  // namespace dslad::worker
