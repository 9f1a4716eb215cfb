// Workers as the policy sees them, from what they say of themselves: the daemon has their hello, its clients
// the worker's entry in `status`. Both must come to the same, or what was learnt of a worker's speed would
// not be found again. Pure.
#pragma once

#include <string>

#include "daemon/policy/facts.h"
#include "schema/reports.h"
#include "schema/worker_messages.h"

namespace dslad::daemon::policy {

// Of a label host:pid:device.
std::string host_of(const std::string& worker_name);
std::string device_of(const std::string& worker_name);

// Workers that are equally fast have the same: model, type, device and host.
std::string speed_key(const schema::Hello& hello);
std::string speed_key(const schema::WorkerInfo& info);

// Without what they have begun: busy_ms is 0.
WorkerFacts facts_of(const schema::Hello& hello);
WorkerFacts facts_of(const schema::WorkerInfo& info);

}  // namespace dslad::daemon::policy
