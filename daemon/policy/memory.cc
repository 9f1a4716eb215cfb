#include "daemon/policy/memory.h"

namespace dslad::daemon::policy {
namespace {

constexpr std::uint64_t sequences_of(std::uint32_t questions) {
  return questions > 1 ? 2 : 1;
}

}  // namespace

double cache_bytes_of(const PlanFacts& plan, double tokens, std::uint32_t questions) {
  return static_cast<double>(sequences_of(questions) * plan.state_bytes) +
         tokens * static_cast<double>(plan.kv_bytes_per_token);
}

bool fits_cache(const WorkerFacts& worker, const PlanFacts& plan, double tokens, std::uint32_t questions) {
  return worker.cache_bytes == 0 ||
         cache_bytes_of(plan, tokens, questions) <= static_cast<double>(worker.cache_bytes);
}

std::uint64_t tokens_of(const PlanFacts& plan, std::uint64_t cache_bytes, std::uint32_t questions) {
  const std::uint64_t states = sequences_of(questions) * plan.state_bytes;
  if (plan.kv_bytes_per_token == 0 || cache_bytes <= states) return 0;
  return (cache_bytes - states + plan.kv_bytes_per_token - 1) / plan.kv_bytes_per_token;
}

}  // namespace dslad::daemon::policy
