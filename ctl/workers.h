// Tables of workers and of how fast they are, for status and stats.
#pragma once

#include <string>
#include <vector>

#include "schema/reports.h"

namespace dslad::ctl {

std::string worker_table(const std::vector<schema::WorkerInfo>& workers);
// What of their chains they do not use, a line each; empty: nothing.
std::string chain_faults(const std::vector<schema::WorkerInfo>& workers);
std::string engine_table(const std::vector<schema::WorkerInfo>& workers);
std::string cost_table(const std::vector<schema::CostModelInfo>& models);

}  // namespace dslad::ctl
