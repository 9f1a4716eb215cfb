// What a job yielded, printed: texts on standard output, why there are none on standard error.
#pragma once

#include <functional>

#include "ctl/client.h"
#include "ctl/verb.h"
#include "schema/client_messages.h"

namespace dslad::ctl {

struct ResultOptions {
  bool first = false;  // the first answers, where the job was run again as it asked
};

// All pages of one job's result, each of which `ask` fetches. Errors: as those of `ask`.
using AskForPage = std::function<Result<schema::JobResult>(const schema::GetResult&)>;
Result<schema::JobResult> fetch_result(const AskForPage& ask, schema::JobId id);

// Fetches and prints it. kOk where it succeeded, else kJobFailed.
Result<Exit> print_result(Client& client, schema::JobId id, bool json, const ResultOptions& options = {});

}  // namespace dslad::ctl
