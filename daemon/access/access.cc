#include "daemon/access/access.h"

#include <fmt/format.h>
#include <unistd.h>
#include <utility>

#include "base/process/log.h"
#include "schema/endpoint.h"
#include "schema/keys/key_file.h"

namespace dslad::daemon {
namespace {

constexpr std::int64_t kLookMs = 1'000;

Error no_keys(std::string_view setting, const std::string& url, std::string_view what) {
  return {ErrorCode::kRefused,
          fmt::format("{} is {}, and tcp is served by keys only: {} (docs/security.md has the steps)",
                      setting, url, what)};
}

}  // namespace

Result<std::unique_ptr<Access>> Access::open(AccessSettings settings) {
  std::unique_ptr<Access> access(new Access(std::move(settings)));
  if (Status status = access->resolve_users(); !status) return status.error();
  if (Status status = access->open_keys(); !status) return status.error();
  return access;
}

Status Access::resolve_users() {
  Result<UserList> admin = UserList::resolve("access.admin", settings_.admin);
  if (!admin) return admin.error();
  Result<UserList> read = UserList::resolve("access.read", settings_.read);
  if (!read) return read.error();
  Result<UserList> submit = UserList::resolve("access.submit", settings_.submit);
  if (!submit) return submit.error();
  // The default names the user that the package makes; without the package there may be none.
  const bool absent =
      settings_.workers == AccessSettings().workers && !UserList::knows_user(settings_.workers);
  Result<UserList> workers = UserList::resolve("access.workers", absent ? "none" : settings_.workers);
  if (!workers) return workers.error();
  admin_ = std::move(admin).value();
  read_ = std::move(read).value();
  submit_ = std::move(submit).value();
  workers_ = std::move(workers).value();
  return ok_status();
}

Status Access::open_keys() {
  struct Setting {
    std::string_view name;
    const std::string& urls;
    bool of_workers;
  };
  for (const Setting& setting : {Setting{"listen.jobs", settings_.jobs_url, false},
                                 Setting{"listen.events", settings_.events_url, false},
                                 Setting{"listen.workers", settings_.workers_url, true}}) {
    for (const std::string& url : schema::split_urls(setting.urls)) {
      if (!schema::is_tcp(url)) continue;
      if (Status status = need_keys(setting.name, url, setting.of_workers); !status) return status;
    }
  }
  return ok_status();
}

Status Access::need_keys(std::string_view setting, const std::string& url, bool of_workers) {
  if (!by_key_) {
    by_key_ = true;
    const Result<keys::KeyPair> own = keys::read_key_pair(settings_.secret_file);
    if (!own && own.error().code == ErrorCode::kNotFound) {
      return no_keys(
          setting, url,
          fmt::format("there is no secret key at {}; make one with dslactl keygen {}, or name another "
                      "as keys.secret",
                      settings_.secret_file, settings_.secret_file));
    }
    if (!own) return no_keys(setting, url, own.error().message);
    secret_key_ = own->secret_key;
    read_keys();
  }
  if ((of_workers ? keys_.workers() : keys_.clients()) > 0) return ok_status();
  return no_keys(
      setting, url,
      fmt::format("there is no public key in {}/{}; put those of its peers there, made with dslactl keygen, "
                  "or name another folder as keys.authorised",
                  settings_.keys_folder, of_workers ? "workers" : "submit, read or admin"));
}

void Access::read_keys() {
  folder_state_ = AuthorisedKeys::state_of(settings_.keys_folder);  // before: what changes now is seen later
  AuthorisedKeys keys = AuthorisedKeys::read(settings_.keys_folder);
  locked_out_ = locked_out_ || keys.lack_a_client_of(keys_);
  keys_ = std::move(keys);
  for (const std::string& fault : keys_.faults())
    process::log_error(fmt::format("a key is not authorised: {}", fault));
  process::log_info(fmt::format("{} clients and {} workers are authorised by keys in {}", keys_.clients(),
                                keys_.workers(), settings_.keys_folder));
}

void Access::read_keys_if_changed() {
  if (AuthorisedKeys::state_of(settings_.keys_folder) != folder_state_) read_keys();
}

void Access::tick(std::int64_t now_ms) {
  if (!by_key_ || now_ms < next_look_ms_) return;
  next_look_ms_ = now_ms + kLookMs;
  read_keys_if_changed();
}

void Access::reload(const AccessSettings& lists) {
  if (by_key_) read_keys();
  settings_.admin = lists.admin;
  settings_.read = lists.read;
  settings_.submit = lists.submit;
  settings_.workers = lists.workers;
  if (Status status = resolve_users(); !status)
    process::log_error(fmt::format("users and groups stay as they were: {}", status.error().message));
}

bool Access::authorised(const std::string& domain, const std::string& key) const {
  return domain == kWorkerDomain ? keys_.worker(key) != nullptr : keys_.client(key) != nullptr;
}

// A key that was put there a moment ago counts. Who is not authorised shall not make us read folders as often
// as he likes.
bool Access::lets_in(const std::string& domain, const std::string& key, std::int64_t now_ms) {
  if (authorised(domain, key)) return true;
  constexpr std::int64_t kAgainMs = kLookMs / 10;
  if (now_ms < next_look_ms_ - kLookMs + kAgainMs) return false;
  next_look_ms_ = now_ms + kLookMs;
  read_keys_if_changed();
  return authorised(domain, key);
}

Role Access::role_of(const LocalUser& user) const {
  if (user.uid == 0 || user.uid == ::geteuid() || admin_.holds(user)) return Role::kAdmin;
  if (read_.holds(user)) return Role::kRead;
  return submit_.holds(user) ? Role::kSubmit : Role::kNone;
}

Principal Access::client(const Identity& who) const {
  if (who.user) return {fmt::format("uid:{}", who.user->uid), role_of(*who.user)};
  const Principal* const known = who.key.empty() ? nullptr : keys_.client(who.key);
  return known == nullptr ? Principal{who.key, Role::kNone} : *known;
}

bool Access::is_worker(const Identity& who) const {
  if (!who.user) return !who.key.empty() && keys_.worker(who.key) != nullptr;
  return who.user->uid == 0 || who.user->uid == ::geteuid() || workers_.holds(*who.user);
}

}  // namespace dslad::daemon
