// The verb `policy simulate`.
#pragma once

#include "ctl/verb.h"

namespace dslad::ctl {

void add_policy_simulate(CLI::App& policy, Action& action);

}  // namespace dslad::ctl
