// The verb `policy simulate`.
#pragma once

#include "daemon/ctl/verb.h"

namespace dslad::daemon::ctl {

void add_policy_simulate(CLI::App& policy, Action& action);

}  // namespace dslad::daemon::ctl
