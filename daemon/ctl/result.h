// What a job yielded, printed: texts on standard output, why there are none on standard error.
#pragma once

#include "daemon/ctl/client.h"
#include "daemon/ctl/verb.h"
#include "schema/client_messages.h"

namespace dslad::daemon::ctl {

// Fetches and prints one job's result. kOk where it succeeded, else kJobFailed.
Result<Exit> print_result(Client& client, schema::JobId id, bool json);

}  // namespace dslad::daemon::ctl
