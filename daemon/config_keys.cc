#include "daemon/config_keys.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/nearest.h"

namespace dslad::daemon {
namespace {

constexpr std::int64_t kDayMs = 24 * 3600 * 1000;

// A key may be misspelt, or named without its table.
std::size_t strangeness(std::string_view name, std::string_view key) {
  return std::min(edit_distance(name, key), edit_distance(name, key.substr(key.find('.') + 1)) + 1);
}

std::string range_of(const KeyEntry& key) {
  if (const auto* integer = std::get_if<IntegerKey>(&key.kind)) {
    return fmt::format("an integer from {} to {}", integer->least, integer->most);
  }
  if (std::holds_alternative<ShareKey>(key.kind)) return "a number from 0 to 1";
  const auto& text = std::get<TextKey>(key.kind);
  return text.words.empty() ? "text" : fmt::format("one of {}", fmt::join(text.words, ", "));
}

std::string wrong_value(const KeyEntry& key, std::string_view value) {
  return fmt::format("{} is {}; it must be {}", key.name, value, range_of(key));
}

std::string set_share(const KeyEntry& key, const ShareKey& share, std::string_view value, Config& config) {
  double number = -1;
  const auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), number);
  const bool whole = code == std::errc() && end == value.data() + value.size();
  if (!whole || !(number >= 0 && number <= 1)) return wrong_value(key, fmt::format("'{}'", value));
  config.*(share.member) = number;
  return {};
}

}  // namespace

std::string value_of(const KeyEntry& key, const Config& config) {
  if (const auto* integer = std::get_if<IntegerKey>(&key.kind))
    return std::to_string(config.*(integer->member));
  if (const auto* share = std::get_if<ShareKey>(&key.kind)) return fmt::format("{}", config.*(share->member));
  return config.*(std::get<TextKey>(key.kind).member);
}

std::span<const KeyEntry> key_table() {
  static const std::vector<KeyEntry> kTable = {
      {"store.state_dir", "folder of dslad.db and its lock", TextKey{&Config::state_dir, {}}},
      {"store.busy_timeout_ms", "how long to wait where another program locks the database",
       IntegerKey{&Config::busy_timeout_ms, 0, 600'000}},
      {"listen.jobs", "URL for clients, or several", TextKey{&Config::jobs_url, {}}},
      {"listen.workers", "URL for workers, or several", TextKey{&Config::workers_url, {}}},
      {"listen.events", "URL for watchers, or several", TextKey{&Config::events_url, {}}},
      {"listen.max_frame_bytes", "largest message taken",
       IntegerKey{&Config::max_frame_bytes, 4096, schema::kMaxFrameBytes}},
      {"listen.max_connections", "connections beyond which others are turned away",
       IntegerKey{&Config::max_connections, 8, 1'000'000}},
      {"keys.secret",
       "file of the daemon's secret key, for tcp; by default systemd's credential secret.key if there",
       TextKey{&Config::secret_key_file, {}}},
      {"keys.authorised", "folder of the keys that tcp is open to: submit, read, admin, workers",
       TextKey{&Config::authorised_keys, {}}},
      {"access.admin", "users and @groups who may do everything over ipc, beside root and dslad's own user",
       TextKey{&Config::access_admin, {}}, true},
      {"access.read", "users and @groups who may see everything over ipc", TextKey{&Config::access_read, {}},
       true},
      {"access.submit", "users and @groups who may submit over ipc, and see their own jobs",
       TextKey{&Config::access_submit, {}}, true},
      {"access.workers", "users and @groups whose workers are served over ipc, beside root's and dslad's own",
       TextKey{&Config::access_workers, {}}, true},
      {"queue.max_attempts", "leases that may end without a result before a job fails",
       IntegerKey{&Config::max_attempts, 1, schema::kMaxAttempts}, true},
      {"queue.max_queued", "queued jobs beyond which submits are refused",
       IntegerKey{&Config::max_queued, 1, 1'000'000'000}, true},
      {"queue.max_queued_bytes", "bytes of queued jobs' texts beyond which submits are refused; 0: no bound",
       IntegerKey{&Config::max_queued_bytes, 0, std::int64_t{1} << 50}, true},
      {"queue.overflow", "what becomes of documents beyond the context, for jobs that do not say",
       TextKey{&Config::overflow, {"error", "truncate", "map-reduce"}}, true},
      {"queue.retry_ms", "pause after a job's first failed attempt, twice as long after each; 0: none",
       IntegerKey{&Config::retry_ms, 0, kDayMs}, true},
      {"queue.max_retry_ms", "longest pause after a failed attempt",
       IntegerKey{&Config::max_retry_ms, 0, 10 * 365 * kDayMs}, true},
      {"retention.max_age_days", "days that jobs are kept after their end; 0: for ever",
       IntegerKey{&Config::max_age_days, 0, 36'500}, true},
      {"retention.max_database_mib",
       "size of the database beyond which the jobs that ended first go; 0: no bound",
       IntegerKey{&Config::max_database_mib, 0, std::int64_t{1} << 30}, true},
      {"workers.lease_ms", "silence after which a worker's jobs go to others",
       IntegerKey{&Config::lease_ms, 100, kDayMs}},
      {"workers.heartbeat_ms", "how often workers shall report; 0: a fifth of the lease",
       IntegerKey{&Config::heartbeat_ms, 0, kDayMs}},
      {"workers.plan_timeout_ms", "how long workers may take to confirm a plan",
       IntegerKey{&Config::plan_timeout_ms, 100, kDayMs}, true},
      {"policy.kind",
       "who decides on which plan a job runs; dslactl policy set overrides all policy settings",
       TextKey{&Config::policy, {"manual", "static", "threshold", "deadline"}}},
      {"policy.min_quality", "no job is given a plan of less quality, relative to plan 0",
       ShareKey{&Config::min_quality}},
      {"policy.target_drain_ms", "how soon a job without a deadline should end",
       IntegerKey{&Config::target_drain_ms, 1, 10 * 365 * kDayMs}},
      {"policy.dwell_ms", "how long a plan is kept before the policy takes a smaller one",
       IntegerKey{&Config::dwell_ms, 0, kDayMs}},
      {"policy.without", "a part that the policy deadline does without, for comparison",
       TextKey{&Config::policy_without, {"nothing", "expectation", "own_plans", "lengths"}}},
      {"policy.threshold_check_ms", "how often the policy threshold looks",
       IntegerKey{&Config::threshold_check_ms, 1, kDayMs}},
      {"policy.threshold_cooldown_ms", "least time between two changes by the policy threshold",
       IntegerKey{&Config::threshold_cooldown_ms, 0, kDayMs}},
      {"policy.static_plan", "the plan of the policy static",
       IntegerKey{&Config::static_plan, 0, schema::kMaxLayers}},
      {"policy.idle_after_ms", "time without jobs after which idle work begins; 0: never",
       IntegerKey{&Config::idle_after_ms, 0, 10 * 365 * kDayMs}},
      {"policy.idle_window", "hours of the day for idle work, local time", TextKey{&Config::idle_window, {}}},
      {"policy.canary_share", "of the jobs on plans above 0, those that idle time runs again on plan 0",
       ShareKey{&Config::canary_share}},
      {"policy.min_agreement", "no job is given a plan whose answers agree less with plan 0's",
       ShareKey{&Config::min_agreement}},
      {"metrics.listen", "ADDRESS:PORT at which Prometheus finds /metrics; off: nowhere",
       TextKey{&Config::metrics_address, {}}},
      {"log.level", "least level that is logged",
       TextKey{&Config::log_level, {"debug", "info", "warning", "error"}}, true},
  };
  return kTable;
}

const KeyEntry* find_key(std::string_view name) {
  for (const KeyEntry& key : key_table()) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

std::string unknown_key(std::string_view name) {
  const auto nearer = [&](const KeyEntry& a, const KeyEntry& b) {
    return strangeness(name, a.name) < strangeness(name, b.name);
  };
  const auto nearest = std::min_element(key_table().begin(), key_table().end(), nearer);
  return fmt::format("unknown key '{}'; did you mean '{}'?", name, nearest->name);
}

std::string set_integer(const KeyEntry& key, std::int64_t value, Config& config) {
  if (const auto* share = std::get_if<ShareKey>(&key.kind)) {
    return set_share(key, *share, std::to_string(value), config);
  }
  const auto* integer = std::get_if<IntegerKey>(&key.kind);
  if (integer == nullptr || value < integer->least || value > integer->most) {
    return wrong_value(key, std::to_string(value));
  }
  config.*(integer->member) = value;
  return {};
}

std::string set_text(const KeyEntry& key, std::string_view value, Config& config) {
  if (const auto* share = std::get_if<ShareKey>(&key.kind)) return set_share(key, *share, value, config);
  const auto* text = std::get_if<TextKey>(&key.kind);
  const bool known =
      text != nullptr && !value.empty() &&
      (text->words.empty() || std::find(text->words.begin(), text->words.end(), value) != text->words.end());
  if (!known) return wrong_value(key, fmt::format("'{}'", value));
  config.*(text->member) = std::string(value);
  return {};
}

std::vector<ConfigKey> config_keys() {
  const Config defaults;
  std::vector<ConfigKey> keys;
  for (const KeyEntry& key : key_table()) {
    keys.push_back({key.name, key.what, range_of(key), value_of(key, defaults), key.reloads});
  }
  return keys;
}

}  // namespace dslad::daemon
