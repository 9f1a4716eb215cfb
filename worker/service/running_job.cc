#include "worker/service/running_job.h"

namespace dslad::worker {

void RunningJob::end(RequestId id, const RequestProgress& progress, const RequestTimes& spent) {
  requests.erase(id);
  ended += progress;
  times += spent;
}

RequestProgress RunningJob::progress() const {
  RequestProgress all = ended;
  for (const auto& [id, progress] : requests) all += progress;
  all.prompt_total += task.tokens_to_come();
  return all;
}

}  // namespace dslad::worker
