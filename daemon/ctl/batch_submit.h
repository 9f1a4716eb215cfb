// The verb `submit batch`.
#pragma once

#include "daemon/ctl/verb.h"

namespace dslad::daemon::ctl {

void add_submit_batch(CLI::App& submit, Action& action);

}  // namespace dslad::daemon::ctl
