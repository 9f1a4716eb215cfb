#include "daemon/config_parts.h"

namespace dslad::daemon {
namespace {

policy::Settings policy_settings(const Config& config) {
  policy::Settings settings;
  schema::parse_word(config.policy, settings.kind);  // the key's table lets no other words in
  settings.static_plan = static_cast<std::uint32_t>(config.static_plan);
  settings.min_quality = config.min_quality;
  settings.target_drain_ms = config.target_drain_ms;
  settings.dwell_ms = config.dwell_ms;
  policy::leave_out(config.policy_without, settings);
  settings.threshold.check_ms = config.threshold_check_ms;
  settings.threshold.cooldown_ms = config.threshold_cooldown_ms;
  settings.idle = {config.idle_after_ms, config.idle_window, config.canary_share, config.min_agreement};
  return settings;
}

}  // namespace

DispatchConfig dispatch_config(const Config& config) {
  return {static_cast<std::uint32_t>(config.lease_ms),
          static_cast<std::uint32_t>(config.heartbeat_interval_ms()),
          static_cast<std::uint32_t>(config.plan_timeout_ms),
          policy_settings(config),
          {config.retry_ms, config.max_retry_ms}};
}

QueueLimits queue_limits(const Config& config) {
  QueueLimits limits{
      static_cast<std::uint32_t>(config.max_attempts), config.max_queued, config.max_queued_bytes, {}};
  parse_word(config.overflow, limits.default_overflow);  // its key takes no other words
  return limits;
}

AccessSettings access_settings(const Config& config) {
  return {config.jobs_url,       config.workers_url,       config.events_url,
          config.access_admin,   config.access_read,       config.access_submit,
          config.access_workers, config.secret_key_path(), config.authorised_keys};
}

RetentionRules retention_rules(const Config& config) {
  return {config.max_age_days * 24 * 3600 * 1000, config.max_database_mib << 20};
}

}  // namespace dslad::daemon
