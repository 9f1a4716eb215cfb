#include "worker/service/rates.h"

namespace dslad::worker {

bool Rates::update(const EngineCounters& counters, Clock::time_point now) {
  if (now - since_ < kWindow) return false;
  const double seconds = std::chrono::duration<double>(now - since_).count();
  const bool first = since_ == Clock::time_point{};
  prefill_ = first ? 0 : static_cast<double>(counters.prompt_tokens - before_.prompt_tokens) / seconds;
  decode_ = first ? 0 : static_cast<double>(counters.output_tokens - before_.output_tokens) / seconds;
  before_ = counters;
  since_ = now;
  return true;
}

schema::EngineStats stats_of(const Engine& engine, const Rates& rates) {
  schema::EngineStats stats;
  stats.steps = engine.counters().steps;
  stats.prompt_tokens = engine.counters().prompt_tokens;
  stats.output_tokens = engine.counters().output_tokens;
  stats.reused_tokens = engine.counters().reused_tokens;
  stats.prefill_tokens_per_s = rates.prefill_tokens_per_s();
  stats.decode_tokens_per_s = rates.decode_tokens_per_s();
  stats.sequences_running = static_cast<std::uint64_t>(engine.sequences_in_work());
  stats.sequences_waiting = engine.waiting();
  const CachePool& caches = engine.caches();
  stats.kv_bytes_used = caches.kv_bytes_used();
  stats.state_bytes_used = caches.state_bytes_used();
  // One arena serves both, so each may grow into what the other leaves.
  const std::size_t total = static_cast<std::size_t>(caches.total_pages()) * caches.page_bytes();
  stats.kv_bytes_total = total - stats.state_bytes_used;
  stats.state_bytes_total = total - stats.kv_bytes_used;
  return stats;
}

}  // namespace dslad::worker
