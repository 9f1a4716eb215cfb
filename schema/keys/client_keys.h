// The keys with which a peer connects by tcp: its own, and the daemon's public one, so that each side knows
// the other. Local sockets need none: the kernel says who is there.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "schema/keys/key_file.h"

namespace dslad::keys {

inline constexpr const char* kServerKeyVariable = "DSLAD_SERVER_KEY";
inline constexpr const char* kOwnKeyVariable = "DSLAD_KEY";

// As the user names them; empty ones are ~/.config/dslad/server.pub and ~/.config/dslad/key.
struct KeyFiles {
  std::string server;
  std::string own;
};

struct ClientKeys {
  std::string server;  // public
  KeyPair own;
  KeyFiles files;  // that they were read from
};

// Nothing where `url` is not tcp. Errors: those of the files, with what to do.
Result<std::optional<ClientKeys>> keys_for(const std::string& url, const KeyFiles& files);

// REQUIRES: a ZeroMQ socket that is not connected yet.
void use_keys(void* socket, const ClientKeys& keys);

}  // namespace dslad::keys
