#include "ctl/top_source.h"

#include <algorithm>
#include <utility>

#include "ctl/format.h"

namespace dslad::ctl {
namespace {

constexpr std::chrono::milliseconds kPatience{3000};  // then the screen says that no answer comes

std::int64_t since_start_ms(std::chrono::steady_clock::time_point when) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(when.time_since_epoch()).count();
}

}  // namespace

TopSource::TopSource(const Globals& globals, std::function<bool()> go_on)
    : globals_(globals),
      go_on_(std::move(go_on)),
      timeout_(std::min(globals.rpc_timeout(), kPatience)),
      answered_(std::chrono::steady_clock::now()) {
  view_.url = globals.url;
}

Result<TopView> TopSource::look(std::uint32_t jobs) {
  const Status status = ask(jobs);
  const auto now = std::chrono::steady_clock::now();
  view_.time_ms = wall_ms();
  if (status) {
    answered_ = now;
    view_.error.reset();
    throughput_.add(since_start_ms(now), *view_.status);
    view_.rates = throughput_.latest();
  } else {
    client_.reset();  // requests that nobody read are not sent to the next daemon
    if (!view_.status && status.error().code != ErrorCode::kUnavailable) return status.error();
    view_.error = status.error().message;
  }
  view_.silent_ms = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(now - answered_).count());
  return view_;
}

Status TopSource::ask(std::uint32_t jobs) {
  if (!client_) {
    Result<Client> client = Client::open(globals_, std::exchange(start_up_, std::chrono::milliseconds(0)));
    if (!client) return client.error();
    client_ = std::move(*client);
    client_->while_waiting(go_on_);
  }
  auto status = call<schema::DaemonStatus>(schema::GetStatus{});
  if (!status) return status.error();
  auto models = call<schema::LayersReply>(schema::GetLayers{});
  if (!models) return models.error();
  auto policy = call<schema::PolicyReply>(schema::ShowPolicy{});
  if (!policy) return policy.error();
  schema::ListJobs running;
  running.state = schema::JobState::kRunning;
  running.limit = jobs;
  auto list = call<schema::JobList>(running);
  if (!list) return list.error();
  auto oldest =
      oldest_.look([this](const schema::ListJobs& request) { return call<schema::JobList>(request); });
  if (!oldest) return oldest.error();
  view_.status = std::move(*status);
  view_.models = std::move(models->models);
  view_.policy = std::move(*policy);
  view_.running = std::move(list->jobs);
  view_.oldest = std::move(*oldest);
  return ok_status();
}

template <typename Reply, typename Request>
Result<Reply> TopSource::call(const Request& request) {
  return client_->call<Reply>(request, timeout_);
}

}  // namespace dslad::ctl
