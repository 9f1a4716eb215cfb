// The verb `submit batch`.
#pragma once

#include "ctl/verb.h"

namespace dslad::ctl {

void add_submit_batch(CLI::App& submit, Action& action);

}  // namespace dslad::ctl
