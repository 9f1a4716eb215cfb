// Turns jobs into tasks on a thread of its own: a document of megabytes takes a second to become tokens, and
// the engine decodes on meanwhile.
//
// One job at a time, in the order in which they came, so the memory is that of one document's work beside the
// texts that wait. A job's texts are gone once its task is made, but for what is wanted of them. Thread
// safety: all members from one thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "schema/worker_messages.h"
#include "worker/engine/plan.h"
#include "worker/tasks/job_requests.h"

namespace dslad::worker {

class RequestMaker {
 public:
  struct Made {
    schema::Assign assign;             // without its texts
    std::shared_ptr<const Plan> plan;  // whose room its document was fitted into
    Result<JobRequests> requests;      // the error is the job's
    std::string text;                  // what is wanted of its document, or of the prompt to continue
  };

  // `model` must outlive this. `on_made` is called on the maker's thread when there is something to take.
  // `wanted_bytes`: of each job's text, its first ones.
  RequestMaker(const ModelFolder& model, std::function<void()> on_made, std::size_t wanted_bytes = 0);

  // `longest`: as for JobRequests::create, on the plan.
  void add(schema::Assign assign, std::shared_ptr<const Plan> plan, std::int64_t longest);
  // What is made, in the order of add().
  std::optional<Made> take();
  // Drops a job that was not taken yet, even one in work; false if there is none with this lease.
  bool forget(const schema::Lease& lease);
  // Jobs that were added, and neither taken nor forgotten.
  [[nodiscard]] std::size_t held() const;

 private:
  struct Wanted {
    schema::Assign assign;
    std::shared_ptr<const Plan> plan;
    std::int64_t longest = 0;
  };
  void work(const std::stop_token& stop);

  const ModelFolder& model_;
  std::function<void()> on_made_;
  std::size_t wanted_bytes_;

  mutable std::mutex mutex_;
  std::condition_variable_any added_;
  std::deque<Wanted> wanted_;
  std::optional<schema::Lease> in_work_;  // none: nothing is, or it was forgotten
  std::deque<Made> made_;
  std::jthread thread_;  // last: it ends before what it uses
};

}  // namespace dslad::worker
