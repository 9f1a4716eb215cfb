#include "daemon/config.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fmt/format.h>
#include <set>
#include <utility>

#include "base/process/local_socket.h"
#include "base/process/toml_file.h"
#include "daemon/config_keys.h"
#include "schema/day_window.h"

namespace dslad::daemon {

std::int64_t Config::heartbeat_interval_ms() const {
  constexpr std::int64_t kHeartbeatsALease = 5;
  return heartbeat_ms > 0 ? heartbeat_ms : std::max<std::int64_t>(1, lease_ms / kHeartbeatsALease);
}

std::string Config::secret_key_path() const {
  const char* const credentials = std::getenv("CREDENTIALS_DIRECTORY");
  if (secret_key_file != kDefaultSecretKey || credentials == nullptr || *credentials == '\0')
    return secret_key_file;
  const std::filesystem::path credential = std::filesystem::path(credentials) / "secret.key";
  std::error_code hidden;
  return std::filesystem::exists(credential, hidden) ? credential.string() : secret_key_file;
}

namespace {

Status check_urls(std::string_view key, const std::string& urls) {
  const std::vector<std::string> each = schema::split_urls(urls);
  const auto served = [](const std::string& url) {
    return url.starts_with(process::kIpcScheme) || schema::is_tcp(url);
  };
  const auto wrong = std::find_if_not(each.begin(), each.end(), served);
  const std::set<std::string> different(each.begin(), each.end());
  if (each.size() > schema::kMostUrls || different.size() < each.size()) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{} names a URL twice, or more than {} of them", key, schema::kMostUrls)};
  }
  if (!each.empty() && wrong == each.end()) return ok_status();
  return Error{
      ErrorCode::kInvalidArgument,
      fmt::format("{} is '{}'; give ipc://PATH or, with keys, tcp://ADDRESS:PORT, or several of them "
                  "separated by commas",
                  key, each.empty() ? urls : *wrong)};
}

}  // namespace

Status Config::validate() const {
  constexpr std::int64_t kShortestHeartbeatMs = 10;
  if (heartbeat_ms > 0 && heartbeat_ms < kShortestHeartbeatMs) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("workers.heartbeat_ms is {}; use 0 (a fifth of the lease) or at least {}",
                             heartbeat_ms, kShortestHeartbeatMs)};
  }
  for (const auto& [key, urls] : {std::pair("listen.jobs", &jobs_url),
                                  {"listen.workers", &workers_url},
                                  {"listen.events", &events_url}}) {
    if (Status status = check_urls(key, *urls); !status) return status;
  }
  if (const auto window = schema::DayWindow::parse(idle_window); !window) {
    return window.error().with_context("policy.idle_window");
  }
  if (heartbeat_ms * 2 <= lease_ms) return ok_status();
  return Error{
      ErrorCode::kInvalidArgument,
      fmt::format("workers.heartbeat_ms is {} and workers.lease_ms {}: a lease must last at least two "
                  "heartbeats",
                  heartbeat_ms, lease_ms)};
}

ConfigErrors read_config_file(const std::filesystem::path& file, Config& config) {
  ConfigErrors errors;
  const auto take = [&](const process::TomlValue& value) {
    const KeyEntry* key = find_key(value.key);
    std::string wrong;
    if (key == nullptr) {
      wrong = unknown_key(value.key);
    } else if (value.integer) {
      wrong = set_integer(*key, *value.integer, config);
    } else {
      wrong = set_text(*key, value.text, config);
    }
    if (!wrong.empty()) errors.push_back(fmt::format("{}:{}: {}", file.string(), value.line, wrong));
  };
  const std::string unreadable = process::read_toml(file, take);
  if (!unreadable.empty()) errors.push_back(unreadable);
  return errors;
}

ConfigErrors apply_setting(std::string_view setting, Config& config) {
  const std::size_t equals = setting.find('=');
  if (equals == std::string_view::npos) return {fmt::format("--set {}: write --set KEY=VALUE", setting)};
  const std::string_view name = setting.substr(0, equals);
  const std::string_view text = setting.substr(equals + 1);
  const KeyEntry* key = find_key(name);
  std::string wrong;
  if (key == nullptr) {
    wrong = unknown_key(name);
  } else if (std::holds_alternative<IntegerKey>(key->kind)) {
    std::int64_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = code == std::errc() && end == text.data() + text.size();
    wrong = whole ? set_integer(*key, value, config) : fmt::format("'{}' is not an integer", text);
  } else {
    wrong = set_text(*key, text, config);
  }
  if (wrong.empty()) return {};
  return {fmt::format("--set {}: {}", name, wrong)};
}

}  // namespace dslad::daemon
