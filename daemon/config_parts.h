// What each part of the daemon takes of the configuration, at its start and at a reload. Pure.
#pragma once

#include "daemon/access/access.h"
#include "daemon/config.h"
#include "daemon/dispatch/dispatcher.h"
#include "daemon/dispatch/retention.h"
#include "daemon/store/job_writes.h"

namespace dslad::daemon {

DispatchConfig dispatch_config(const Config& config);
QueueLimits queue_limits(const Config& config);
AccessSettings access_settings(const Config& config);
RetentionRules retention_rules(const Config& config);

}  // namespace dslad::daemon
