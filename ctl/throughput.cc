#include "ctl/throughput.h"

#include <algorithm>

namespace dslad::ctl {
namespace {

constexpr double kLatestMs = 10'000;

// Counters start anew with their process, and jobs are forgotten.
double growth(std::uint64_t before, std::uint64_t now) {
  return now > before ? static_cast<double>(now - before) : 0;
}

std::uint64_t ended_jobs(const schema::DaemonStatus& status) {
  std::uint64_t ended = 0;
  for (const auto& [word, jobs] : status.jobs) {
    schema::JobState state{};
    if (schema::parse_word(word, state) && is_final(state)) ended += jobs;
  }
  return ended;
}

}  // namespace

void Throughput::add(std::int64_t now_ms, const schema::DaemonStatus& status) {
  const std::uint64_t ended = ended_jobs(status);
  if (ended_) totals_.jobs += growth(*ended_, ended);
  ended_ = ended;
  for (const schema::WorkerInfo& worker : status.workers) {
    const Tokens now{worker.engine.prompt_tokens, worker.engine.output_tokens};
    const auto [entry, first] = seen_.try_emplace(worker.instance, now);
    totals_.prompt_tokens += growth(entry->second.prompt, now.prompt);
    totals_.output_tokens += growth(entry->second.output, now.output);
    entry->second = now;
  }
  looks_.push_back({now_ms, totals_});
  while (looks_.size() > 2 && looks_[1].time_ms <= now_ms - kWindowMs) looks_.pop_front();
}

std::optional<Rates> Throughput::latest() const {
  if (looks_.size() < 2) return std::nullopt;
  const auto now = static_cast<double>(looks_.back().time_ms);
  return between(std::max(now - kLatestMs, static_cast<double>(looks_.front().time_ms)), now);
}

std::vector<std::optional<Rates>> Throughput::history(std::size_t parts) const {
  std::vector<std::optional<Rates>> rates(parts);
  if (looks_.size() < 2) return rates;
  const double part_ms = static_cast<double>(kWindowMs) / static_cast<double>(parts);
  const double begin = static_cast<double>(looks_.back().time_ms) - static_cast<double>(kWindowMs);
  const auto known_from = static_cast<double>(looks_.front().time_ms);
  for (std::size_t i = 0; i < parts; ++i) {
    const double from = begin + part_ms * static_cast<double>(i);
    if (from + part_ms > known_from) rates[i] = between(std::max(from, known_from), from + part_ms);
  }
  return rates;
}

std::optional<Rates> Throughput::between(double from_ms, double to_ms) const {
  if (to_ms <= from_ms) return std::nullopt;
  const Totals from = at(from_ms), to = at(to_ms);
  const double seconds = (to_ms - from_ms) / 1000;
  return Rates{(to.jobs - from.jobs) / seconds, (to.prompt_tokens - from.prompt_tokens) / seconds,
               (to.output_tokens - from.output_tokens) / seconds};
}

// Between two looks everything went evenly.
Throughput::Totals Throughput::at(double time_ms) const {
  const auto after = std::find_if(looks_.begin(), looks_.end(), [time_ms](const Look& look) {
    return static_cast<double>(look.time_ms) >= time_ms;
  });
  if (after == looks_.end()) return looks_.back().totals;
  if (after == looks_.begin()) return after->totals;
  const Look& before = *(after - 1);
  const double share =
      (time_ms - static_cast<double>(before.time_ms)) / static_cast<double>(after->time_ms - before.time_ms);
  const auto mix = [share](double a, double b) { return a + (b - a) * share; };
  return {mix(before.totals.jobs, after->totals.jobs),
          mix(before.totals.prompt_tokens, after->totals.prompt_tokens),
          mix(before.totals.output_tokens, after->totals.output_tokens)};
}

}  // namespace dslad::ctl
