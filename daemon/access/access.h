// Who is who among the daemon's peers, as of now: users of this machine by the lists of the configuration,
// peers on tcp by the folder of authorised keys, which is read again when it changes. Whoever is asked about
// is looked up anew each time, so that a key that is removed serves nobody from then on. Socket thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/result.h"
#include "daemon/access/authorised_keys.h"
#include "daemon/access/identity.h"
#include "daemon/access/role.h"
#include "daemon/access/user_list.h"

namespace dslad::daemon {

struct AccessSettings {
  std::string jobs_url, workers_url, events_url;
  std::string admin = "none", read = "none", submit = "all", workers = "dslad-worker";  // lists of users
  std::string secret_file;
  std::string keys_folder;
};

class Access {
 public:
  // Errors: kInvalidArgument for a user that is not known; kRefused where a socket is on tcp and the daemon
  // has no secret key, or nobody is authorised to use the socket.
  static Result<std::unique_ptr<Access>> open(AccessSettings settings);

  // What the client is and may do. Without rights its role is kNone, and its owner for the log alone.
  [[nodiscard]] Principal client(const Identity& who) const;
  // Whether it may work: who can is handed everybody's documents.
  [[nodiscard]] bool is_worker(const Identity& who) const;

  // Whether the owner of this key may connect at all; looks at the folder once more before it says no.
  bool lets_in(const std::string& domain, const std::string& key, std::int64_t now_ms);

  // Reads the folder of keys again where it has changed, at most once a second. `now_ms`: steady.
  void tick(std::int64_t now_ms);
  // Whether a client's key was taken away since the last call: it may have opened connections on which
  // nothing is asked for.
  [[nodiscard]] bool take_locked_out() { return std::exchange(locked_out_, false); }
  // Reads it, and resolves these lists of users; what is wrong is logged, and the former lists stay.
  void reload(const AccessSettings& lists);

  // The daemon's own; empty where no socket is on tcp.
  [[nodiscard]] const std::string& secret_key() const { return secret_key_; }

 private:
  explicit Access(AccessSettings settings) : settings_(std::move(settings)) {}
  Status resolve_users();
  Status open_keys();
  Status need_keys(std::string_view setting, const std::string& url, bool of_workers);
  void read_keys();
  void read_keys_if_changed();
  [[nodiscard]] bool authorised(const std::string& domain, const std::string& key) const;
  [[nodiscard]] Role role_of(const LocalUser& user) const;

  AccessSettings settings_;
  UserList admin_, read_, submit_, workers_;
  bool by_key_ = false;  // a socket is on tcp
  std::string secret_key_;
  AuthorisedKeys keys_;
  bool locked_out_ = false;
  std::string folder_state_;       // as the keys were read from it
  std::int64_t next_look_ms_ = 0;  // steady
};

// The domains in which keys are authorised, ZAP's.
inline constexpr const char* kClientDomain = "clients";
inline constexpr const char* kWorkerDomain = "workers";

}  // namespace dslad::daemon
