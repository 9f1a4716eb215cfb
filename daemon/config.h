// The daemon's configuration: every key with its default, type and range, read from TOML and then from --set.
// An unknown key or a value out of range is an error that names its place. Plain values once read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "schema/endpoint.h"
#include "schema/limits.h"

namespace dslad::daemon {

inline constexpr const char* kDefaultSecretKey = "/etc/dslad/secret.key";

struct Config {
  std::string state_dir = "/var/lib/dslad";
  std::string jobs_url = schema::kDefaultJobsUrl;
  std::string workers_url = schema::kDefaultWorkersUrl;
  std::string events_url = schema::kDefaultEventsUrl;
  std::string secret_key_file = kDefaultSecretKey;  // the daemon's own, for tcp
  std::string authorised_keys = "/etc/dslad/keys";  // folder of the keys that tcp is open to
  std::string access_admin = "none";                // users and @groups of this machine, beside root
  std::string access_read = "none";
  std::string access_submit = "all";            // of those who can open the socket
  std::string access_workers = "dslad-worker";  // the package's user; where it is not there, nobody
  std::int64_t max_attempts = 3;                // of jobs that name none
  std::int64_t max_queued = 1'000'000;          // jobs
  std::int64_t max_queued_bytes = 0;            // 0: as the disk has room
  std::string overflow = "error";               // of documents beyond the context, for jobs that do not say
  std::int64_t retry_ms = 1'000;                // after the first failed attempt; twice as long after each
  std::int64_t max_retry_ms = 300'000;
  std::int64_t max_age_days = 0;      // that jobs which have ended are kept; 0: for ever
  std::int64_t max_database_mib = 0;  // 0: as the disk has room
  std::int64_t max_connections = 16'384;
  std::int64_t max_frame_bytes = schema::kMaxFrameBytes;
  std::int64_t lease_ms = 15'000;
  std::int64_t heartbeat_ms = 0;  // 0: a fifth of the lease
  std::int64_t plan_timeout_ms = 60'000;
  std::int64_t busy_timeout_ms = 5'000;
  std::string metrics_address = "off";  // or where they are served
  std::string log_level = "info";
  std::string policy = "deadline";
  std::int64_t static_plan = 0;
  double min_quality = 0.95;  // relative to plan 0
  std::int64_t target_drain_ms = 60'000;
  std::int64_t dwell_ms = 10'000;
  std::int64_t threshold_check_ms = 5'000;
  std::int64_t threshold_cooldown_ms = 60'000;
  std::string policy_without = "nothing";  // expectation, own_plans or lengths
  std::int64_t idle_after_ms = 60'000;
  std::string idle_window = "00:00-24:00";
  double canary_share = 0.02;
  double min_agreement = 0.5;

  // heartbeat_ms, or what 0 stands for.
  [[nodiscard]] std::int64_t heartbeat_interval_ms() const;

  // Where secret_key_file is left as it is, systemd's credential of that name if there is one: see
  // LoadCredential.
  [[nodiscard]] std::string secret_key_path() const;

  // What no single key can say. Errors: kInvalidArgument.
  [[nodiscard]] Status validate() const;
};

// One key, for the manual and for --help.
struct ConfigKey {
  std::string_view name;  // "workers.lease_ms": table, dot, key
  std::string_view what;
  std::string range;
  std::string value;  // the default
  bool reloads;       // may change while dslad serves
};
std::vector<ConfigKey> config_keys();

// All errors of a reading, each with its place ("FILE:LINE: ..." or "--set KEY: ...").
using ConfigErrors = std::vector<std::string>;

// Applies the file onto `config`; gives what is wrong with it, nothing when all is well.
ConfigErrors read_config_file(const std::filesystem::path& file, Config& config);

// Applies one "key=value". A value is taken as the key's type: no quotes are needed.
ConfigErrors apply_setting(std::string_view setting, Config& config);

}  // namespace dslad::daemon
