// Who sent a message, as the socket that it came by knows it and no message can claim.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace dslad::daemon {

// Of a process on this machine, when it connected; from the kernel.
struct LocalUser {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  bool operator==(const LocalUser&) const = default;
};

// One of the two, or neither: nobody.
struct Identity {
  std::optional<LocalUser> user;  // over ipc
  std::string key;                // over tcp: the public key that the handshake proved
  bool operator==(const Identity&) const = default;
};

}  // namespace dslad::daemon
