// What a job takes of a worker's cache on a plan: of each token keys and values in the layers that attend, of
// each sequence the states of the others. Both as the engine counts them, in whole pages. Pure.
#pragma once

#include <cstdint>

#include "daemon/policy/facts.h"

namespace dslad::daemon::policy {

// Several questions share one document: its sequence and the one that branches off it are there at once.
double cache_bytes_of(const PlanFacts& plan, double tokens, std::uint32_t questions);

// True where the worker's cache is not known.
bool fits_cache(const WorkerFacts& worker, const PlanFacts& plan, double tokens, std::uint32_t questions);

// The tokens, rounded up, of a job that takes so much on the plan. 0: the figures do not say.
std::uint64_t tokens_of(const PlanFacts& plan, std::uint64_t cache_bytes, std::uint32_t questions);

}  // namespace dslad::daemon::policy
