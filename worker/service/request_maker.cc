#include "worker/service/request_maker.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace dslad::worker {
namespace {

// REQUIRES: UTF-8.
std::string beginning_of_text(schema::JobSpec& spec, std::size_t bytes) {
  std::string text = std::move(spec.task == schema::Task::kGenerate ? spec.prompt : spec.document);
  return text.size() <= bytes ? text : std::string(utf8_prefix(text, bytes));
}

}  // namespace

RequestMaker::RequestMaker(const ModelFolder& model, std::function<void()> on_made, std::size_t wanted_bytes)
    : model_(model),
      on_made_(std::move(on_made)),
      wanted_bytes_(wanted_bytes),
      thread_([this](const std::stop_token& stop) { work(stop); }) {}

void RequestMaker::add(schema::Assign assign, std::shared_ptr<const Plan> plan, std::int64_t longest) {
  {
    const std::lock_guard lock(mutex_);
    wanted_.push_back({std::move(assign), std::move(plan), longest});
  }
  added_.notify_one();
}

std::optional<RequestMaker::Made> RequestMaker::take() {
  const std::lock_guard lock(mutex_);
  if (made_.empty()) return std::nullopt;
  std::optional<Made> made(std::move(made_.front()));
  made_.pop_front();
  return made;
}

bool RequestMaker::forget(const schema::Lease& lease) {
  const std::lock_guard lock(mutex_);
  const auto is_it = [&](const auto& job) { return job.assign.lease == lease; };
  if (std::erase_if(wanted_, is_it) + std::erase_if(made_, is_it) > 0) return true;
  if (in_work_ != lease) return false;
  in_work_.reset();
  return true;
}

std::size_t RequestMaker::held() const {
  const std::lock_guard lock(mutex_);
  return wanted_.size() + made_.size() + (in_work_ ? 1 : 0);
}

void RequestMaker::work(const std::stop_token& stop) {
  for (;;) {
    std::unique_lock lock(mutex_);
    if (!added_.wait(lock, stop, [this] { return !wanted_.empty(); }) || stop.stop_requested()) return;
    auto [assign, plan, longest] = std::move(wanted_.front());
    wanted_.pop_front();
    in_work_ = assign.lease;
    lock.unlock();

    auto requests = JobRequests::create(model_, assign.spec, longest);
    std::string text;
    if (wanted_bytes_ > 0 && requests) text = beginning_of_text(assign.spec, wanted_bytes_);
    const schema::Task kind = std::exchange(assign.spec, {}).task;
    assign.spec.task = kind;

    lock.lock();
    if (!in_work_) continue;  // forgotten meanwhile
    in_work_.reset();
    made_.push_back({std::move(assign), std::move(plan), std::move(requests), std::move(text)});
    lock.unlock();
    on_made_();
  }
}

}  // namespace dslad::worker
