// What a reload makes of a configuration that was read anew: keys that may change while dslad serves take
// their new values, the others keep the old ones until a restart. Pure.
#pragma once

#include <string>
#include <vector>

#include "daemon/config.h"

namespace dslad::daemon {

struct Reload {
  Config config;                     // what is in force from now on
  std::vector<std::string> changed;  // "queue.max_queued is 5 now, was 1000000"
  std::vector<std::string> refused;  // with the remedy
};

Reload plan_reload(const Config& now, const Config& asked);

}  // namespace dslad::daemon
