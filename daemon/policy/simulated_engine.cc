#include "daemon/policy/simulated_engine.h"

#include <algorithm>
#include <limits>

namespace dslad::daemon::policy {
namespace {

constexpr double kNothing = 1e-4;       // milliseconds, or steps; more than rounding errors of days
constexpr double kPromptTokens = 512;   // a step takes in
constexpr double kShortest = 0.25;      // of them are the shortest prompt's
constexpr std::ptrdiff_t kReaders = 2;  // prompts that are of use at a time
constexpr double kLeastStep_ms = 1e-3;  // of answers that take no work

}  // namespace

bool SimulatedEngine::Running::reads() const {
  return prefill_left_ms > kNothing;
}

bool SimulatedEngine::Running::done() const {
  return !reads() && steps_left <= kNothing;
}

double SimulatedEngine::Running::prompt_left() const {
  return prefill_left_ms / ms_a_token();
}

bool SimulatedEngine::has_room() const {
  return jobs_.size() < room_ && std::ranges::count_if(jobs_, &Running::reads) < kReaders;
}

void SimulatedEngine::begin(const EngineJob& job) {
  Running& begun = jobs_.emplace_back(Running{job, job.work.prefill_ms, 0});
  begun.job.steps = std::max(1.0, job.steps);
  if (job.work.decode_ms > 0) begun.steps_left = begun.job.steps;
}

SimulatedEngine::Flow SimulatedEngine::flow() const {
  Flow flow{std::vector<double>(jobs_.size(), 0), 0};
  const auto oldest = std::ranges::find_if(jobs_, &Running::reads);
  auto shortest = oldest;
  for (auto job = oldest; job != jobs_.end(); ++job) {
    if (job->reads() && job->prompt_left() < shortest->prompt_left()) shortest = job;
  }
  if (oldest != jobs_.end()) {
    flow.prompt_tokens[static_cast<std::size_t>(oldest - jobs_.begin())] = kPromptTokens;
    if (shortest != oldest) {
      flow.prompt_tokens[static_cast<std::size_t>(oldest - jobs_.begin())] *= 1 - kShortest;
      flow.prompt_tokens[static_cast<std::size_t>(shortest - jobs_.begin())] = kShortest * kPromptTokens;
    }
  }
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    const Running& job = jobs_[i];
    if (job.reads()) {
      flow.step_ms += flow.prompt_tokens[i] * job.ms_a_token();
    } else if (!job.done()) {
      flow.step_ms += job.ms_a_step();
    }
  }
  flow.step_ms = std::max(flow.step_ms, kLeastStep_ms);
  return flow;
}

double SimulatedEngine::next_ms() const {
  double steps = std::numeric_limits<double>::infinity();
  const Flow flow = this->flow();
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    const Running& job = jobs_[i];
    if (!job.reads()) {
      steps = std::min(steps, std::max(0.0, job.steps_left));
    } else if (flow.prompt_tokens[i] > 0) {
      steps = std::min(steps, job.prompt_left() / flow.prompt_tokens[i]);
    }
  }
  return steps * flow.step_ms;
}

void SimulatedEngine::pass(double ms) {
  const Flow flow = this->flow();
  const double steps = ms / flow.step_ms;
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    Running& job = jobs_[i];
    if (job.reads()) {
      job.prefill_left_ms -= steps * flow.prompt_tokens[i] * job.ms_a_token();
    } else {
      job.steps_left -= steps;
    }
  }
}

std::vector<std::size_t> SimulatedEngine::take_done() {
  std::vector<std::size_t> done;
  std::erase_if(jobs_, [&](const Running& job) {
    if (job.done()) done.push_back(job.job.id);
    return job.done();
  });
  return done;
}

std::vector<SimulatedEngine::Left> SimulatedEngine::left() const {
  std::vector<Left> all;
  for (const Running& job : jobs_) {
    const double decode_ms = job.steps_left > 0 ? job.job.work.decode_ms * job.steps_left / job.job.steps : 0;
    const double left_ms = std::max(0.0, job.prefill_left_ms) + decode_ms;
    const double all_ms = job.job.work.total_ms();
    all.push_back({job.job.id, all_ms > 0 ? std::clamp(left_ms / all_ms, 0.0, 1.0) : 0});
  }
  return all;
}

}  // namespace dslad::daemon::policy
